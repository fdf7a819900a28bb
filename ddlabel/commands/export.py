"""`export`: a bundle in a form that other programs read, or as .h5 in place of .safetensors."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ddlabel.commands.command import command
from ddlabel.commands.inputs import BundleLike, open_bundle
from ddlabel.commands.reporter import Reporter
from ddlabel.core.config import ExportOptions
from ddlabel.core.errors import OutputExistsError
from ddlabel.data import atomic, exporters
from ddlabel.data.atomic_folder import check_folder
from ddlabel.data.reading import is_regular, is_standard_output


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What `export` wrote.

    Attributes:
        out: The file or folder.
        format: Its kind.
        lost: What of the bundle it does not hold.
    """

    out: str
    format: str
    lost: tuple[str, ...]

    def value(self) -> dict[str, Any]:
        """Return the outcome as JSON."""
        return asdict(self)


@command("export", ExportOptions, json_value=Exported.value)
def export(
    bundle: BundleLike, out: str | Path, *, options: ExportOptions, reporter: Reporter
) -> Exported:
    """Write a bundle in a form that other programs read, and say what of it is lost.

    The output is written whole or not at all, and an existing one is never replaced. The same
    bundle and options give the same bytes.

    Raises:
        InvalidInputError: The bundle cannot be read.
        IncompatibleError: The form cannot hold such a bundle.
        OutputExistsError: The output exists.
        UsageError: The form is not clear, or an option does not fit.
        StorageError: The output cannot be written.
    """
    path = str(out)
    kind = exporters.choose(path, options.format)
    # Which options go together is known now that `auto` is settled.
    options = replace(options, format=kind)
    options.check_together()
    if exporters.exporters[kind].is_folder:
        check_folder(path)
    else:
        _check_file(path)
    opened = open_bundle(bundle)
    lost = exporters.write(opened.bundle, path, options)
    if lost:
        reporter.note(f"{kind} does not hold: {'; '.join(lost)}")
    return Exported(out=path, format=kind, lost=tuple(lost))


def _check_file(path: str) -> None:
    """Refuse a file that exists, or that cannot be written."""
    if is_regular(path) and not is_standard_output(path):
        raise OutputExistsError(f"{path} exists: choose another name")
    atomic.check_output(path, force=False)
