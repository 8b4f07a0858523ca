"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can mend: the message says what, where and what to do, in one line.

    The command line prints the message without a traceback and exits with code 2.
    """
