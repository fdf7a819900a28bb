"""Running a command from files to files, as the command line and `sweep` do."""

from collections.abc import Mapping
from typing import Any

from ddlabel.commands.command import Command
from ddlabel.commands.reporter import SILENT, Reporter
from ddlabel.core.errors import UsageError
from ddlabel.core.ranks import RANK
from ddlabel.data import atomic, formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import Header


def make_bundle_file(
    command: Command,
    inputs: Mapping[str, Any],
    out: str,
    options: Any,
    *,
    force: bool = False,
    reporter: Reporter = SILENT,
    **more: Any,
) -> tuple[Bundle, dict[str, Any]]:
    """Run a command that makes a bundle, and write it whole or not at all.

    An existing output is refused before the work. Under torchrun rank 0 alone writes. Returns the
    bundle, and what `--json` prints: the path, the digest and the shapes.

    Raises:
        OutputExistsError: The output is there, and `force` is not set.
        StorageError: The output cannot be written.
    """
    atomic.check_output(out, force=force)
    formats.format_of(out)
    bundle: Bundle = command.run(inputs, options, reporter, **more)
    if not isinstance(bundle, Bundle):
        raise UsageError(f"{command.name} makes no bundle: leave out the output")
    if RANK:
        return bundle, {}
    header = formats.write(out, bundle)
    return bundle, {"out": out, "digest": header.digest, "shapes": shapes_of(header)}


def shapes_of(header: Header) -> dict[str, list[int]]:
    """Return the shape of every array of a bundle."""
    return {name: list(info.shape) for name, info in header.arrays.items()}
