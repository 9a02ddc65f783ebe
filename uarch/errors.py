"""The one exception that means: the user's input was wrong."""


class InputError(ValueError):
    """Input that cannot be used: the message names the field, the value and what is allowed, in one line.

    The command line prints the message and exits with code 2; library users catch it as a ``ValueError``.
    Anything else that is raised is a defect of the simulator and keeps its traceback.
    """
