"""The exceptions that a user is meant to read."""


class UserError(Exception):
    """Something the user can mend: the message says what, where and what to do, in one line.

    The command line prints the message without a traceback and exits with code 2.
    """


class LostProcessError(Exception):
    """Another process of a distributed run is gone; the command line prints the message and exits with code 1."""
