"""Every error that a user can provoke: one root, one exit code for each kind."""


class DDLabelError(Exception):
    """What was wrong, what was got, what was expected and what to do, in one line.

    The command line prints the message after the word `error` and leaves with `exit_code`; a traceback always means
    a bug of ours.
    """

    exit_code = 1

    def __init_subclass__(cls, exit_code: int) -> None:
        cls.exit_code = exit_code


class UsageError(DDLabelError, exit_code=2):
    """An option, a spec string or a combination of them that cannot be carried out."""


class InvalidInputError(DDLabelError, exit_code=3):
    """A file that is missing, foreign, truncated, corrupt or without meaning."""


class UnsafeInputError(DDLabelError, exit_code=4):
    """A file that could run code, reach outside itself or exhaust the machine."""


class IncompatibleError(DDLabelError, exit_code=5):
    """Inputs that are sound but do not belong together."""


class OutputExistsError(DDLabelError, exit_code=6):
    """An output that is already there and was not asked to be replaced."""


class StorageError(DDLabelError, exit_code=7):
    """The disk or the operating system refused to read or write."""


class ClosedPipeError(DDLabelError, exit_code=0):
    """The reader of standard output has what it wanted: nothing went wrong."""


class ResourceError(DDLabelError, exit_code=8):
    """Not enough memory, or a device that is not there."""


class SweepError(DDLabelError, exit_code=9):
    """Some cells of a sweep failed; the others are done."""
