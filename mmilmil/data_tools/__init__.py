"""What is done with data sets before a training: fetching, drawing and checking them, and finding a user's own files."""
