"""The one exception for a user's mistake."""


class InputError(ValueError):
    """A config, file or argument that cannot be used as given.

    The message names the file or setting, the value found and the remedy. The tools print it without a traceback and exit
    with status 1; in a program of one's own it is an ordinary ``ValueError``.
    """
