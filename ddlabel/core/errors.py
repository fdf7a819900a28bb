"""The errors that a user can cause: one root class, and one exit code for each kind of error."""

from typing import Any

from ddlabel.core.text import printable


class DDLabelError(Exception):
    """An error with a message of one line: what was wrong, got and expected, and what to do.

    The command line prints the message after the word `error` and exits with `exit_code`. A
    traceback always means a bug in ddlabel.
    """

    exit_code = 1

    def __init_subclass__(cls, exit_code: int) -> None:
        cls.exit_code = exit_code

    def __str__(self) -> str:
        """Return the message on one line: names of files and fields in it are a stranger's."""
        return printable(super().__str__())


class UsageError(DDLabelError, exit_code=2):
    """An option, a spec string or a combination of options that cannot be used."""


class InvalidInputError(DDLabelError, exit_code=3):
    """A file that is missing, in an unknown format, truncated, corrupt or without meaning."""


class UnsafeInputError(DDLabelError, exit_code=4):
    """A file that could run code, reach outside itself or exhaust the machine."""


class IncompatibleError(DDLabelError, exit_code=5):
    """Inputs that are valid but do not belong together."""


class OutputExistsError(DDLabelError, exit_code=6):
    """An output that exists already and that the user did not ask to replace."""


class StorageError(DDLabelError, exit_code=7):
    """The disk or the operating system refused to read or write."""


class ClosedPipeError(DDLabelError, exit_code=0):
    """The reader of standard output closed it early, as `head` does. Nothing went wrong."""


class ResourceError(DDLabelError, exit_code=8):
    """There is not enough memory, or the device does not exist."""


class SweepError(DDLabelError, exit_code=9):
    """Some cells of a sweep failed. The other cells are done: `result` is the `SweepResult`."""

    def __init__(self, message: str, *, result: Any = None) -> None:
        super().__init__(message)
        self.result = result
