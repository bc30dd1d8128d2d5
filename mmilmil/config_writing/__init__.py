"""Writes config files: the stages of a split with their baselines, and the data set of a user's own annotations."""
