"""Every error that a user can provoke: one root, one exit code for each kind."""

from __future__ import annotations


class DDLabelError(Exception):
    """What was wrong, what was got, what was expected and what to do, in one line.

    The command line prints the message after the word `error` and leaves with `exit_code`; a traceback always means
    a bug of ours.
    """

    exit_code = 1


class UsageError(DDLabelError):
    """An option, a spec string or a combination of them that cannot be carried out."""

    exit_code = 2


class InvalidInputError(DDLabelError):
    """A file that is missing, foreign, truncated, corrupt or without meaning."""

    exit_code = 3


class UnsafeInputError(DDLabelError):
    """A file that could run code, reach outside itself or exhaust the machine."""

    exit_code = 4


class IncompatibleError(DDLabelError):
    """Inputs that are sound but do not belong together."""

    exit_code = 5


class OutputExistsError(DDLabelError):
    """An output that is already there and was not asked to be replaced."""

    exit_code = 6


class StorageError(DDLabelError):
    """The disk or the operating system refused to read or write."""

    exit_code = 7


class ClosedPipeError(DDLabelError):
    """The reader of standard output has what it wanted: nothing went wrong."""

    exit_code = 0


class ResourceError(DDLabelError):
    """Not enough memory, or a device that is not there."""

    exit_code = 8
