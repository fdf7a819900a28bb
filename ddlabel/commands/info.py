"""`info`: what a file or folder is. It needs no torch and reads no array of a bundle."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ddlabel.commands.command import command
from ddlabel.commands.execute import shapes_of
from ddlabel.commands.reporter import Reporter
from ddlabel.core.errors import InvalidInputError
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.provenance import shell_lines
from ddlabel.data.reading import is_standard_input
from ddlabel.data.record import Record
from ddlabel.data.results import SUFFIX, read_records
from ddlabel.data.run_files import INFO
from ddlabel.data.schema import Header


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A source that `import` reads.

    Attributes:
        path: Its path.
        what: What it is, such as "a folder or zip of class folders".
        kind: The name of its kind for `import --format`.
        takes_pixels: Whether `import` has to be told the space of pixels that are no bytes.
    """

    path: str
    what: str
    kind: str
    takes_pixels: bool


# A bundle, the runs of a folder, the records of a results file, or something to import.
Information = Header | list[ExpertRun] | list[Record] | Foreign


def information_value(found: Information) -> Any:
    """Return what `--json` prints."""
    if isinstance(found, Header):
        return header_value(found)
    if isinstance(found, Foreign):
        return asdict(found)
    values = []
    for each in found:
        if isinstance(each, Record):
            values.append(json.loads(each.to_json()))
        else:
            values.append({**asdict(each.about), "checkpoints": each.metrics()})
    return values


def header_value(header: Header) -> dict[str, Any]:
    """Return a header as JSON, with the shapes of the arrays and the commands of the history."""
    value: dict[str, Any] = json.loads(header.to_json())
    value["shapes"] = shapes_of(header)
    value["shell"] = shell_pipeline(header)
    return value


def shell_pipeline(header: Header) -> list[str]:
    """Return the command lines of a history, with a pipe at the end of all but the last."""
    lines = shell_lines(header.history)
    return [f"{line} |" for line in lines[:-1]] + lines[-1:]


@command("info", json_value=information_value)
def info(path: str | Path | Bundle, *, reporter: Reporter) -> Information:
    """Return what a file or folder holds.

    This is the header of a bundle (shapes, classes, label spaces and history), the expert runs of a
    folder, the records of a results file, or the kind of a foreign source.

    Raises:
        InvalidInputError: The file is missing, of no known kind, cut off or damaged.
        UnsafeInputError: It is a stream that is no bundle, or declares more than the limits.
    """
    if isinstance(path, Bundle):
        return path.header()
    place = Path(path)
    if not is_standard_input(path):
        if _has_runs(place):
            return ExpertRun.find(str(path))
        if place.suffix == SUFFIX and place.is_file():
            return read_records(place, reporter.note)
        if place.exists() and place.suffix not in formats.FORMATS:
            return _foreign(place)
    return formats.read_header(str(path))


def _has_runs(place: Path) -> bool:
    """Return whether it is the folder of a run, or a folder of such folders."""
    is_run = (place / INFO).exists()
    return is_run or (place.is_dir() and any(place.glob(f"*/{INFO}")))


def _foreign(place: Path) -> Foreign:
    """Return the kind of a foreign source.

    Raises:
        InvalidInputError: It is of no known kind, or of several.
        UnsafeInputError: It is a stream or a device.
    """
    import ddlabel.data.importers  # noqa: F401 - registers every importer
    from ddlabel.data.importers.budget import check_source
    from ddlabel.data.importers.registry import AUTO, choose, importers

    check_source(place)
    try:
        chosen = choose([place], AUTO)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{error}; it is no bundle, expert run or results file either"
        ) from error
    assert chosen.found is not None  # nothing was given
    return Foreign(
        path=str(place),
        what=chosen.found.what,
        kind=chosen.kind,
        takes_pixels="pixels" in importers[chosen.kind].options,
    )
