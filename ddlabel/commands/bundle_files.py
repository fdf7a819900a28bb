"""Reading and writing bundles from Python."""

from pathlib import Path

from ddlabel.core.errors import UsageError
from ddlabel.data import atomic, formats
from ddlabel.data.bundle import Bundle


def read(path: str | Path, *, verify: bool = True) -> Bundle:
    """Read a bundle with its arrays memory-mapped.

    With `verify` the sha256 of every array and every number are checked; leave it out for huge
    files that you trust.

    Raises:
        InvalidInputError: The file is missing, foreign, cut off or damaged.
        IncompatibleError: It is of another format version.
        UnsafeInputError: It refers to other files.
        UsageError: No format has its suffix.
    """
    return formats.read(str(path), verify=verify)


def write(path: str | Path, bundle: Bundle, *, force: bool = False) -> None:
    """Write a bundle as `.safetensors` or `.h5`, all of it or nothing.

    Raises:
        OutputExistsError: The file exists, and `force` is not set.
        UsageError: No format has the suffix of the path, or `bundle` is none.
        InvalidInputError: A number in the bundle has no meaning.
        StorageError: The disk is full or the operating system refuses.
    """
    if not isinstance(bundle, Bundle):
        raise UsageError(
            f"expected write(path, bundle), got an object of type {type(bundle).__name__} as bundle"
        )
    atomic.check_output(str(path), force=force)
    formats.write(str(path), bundle, force=force)
