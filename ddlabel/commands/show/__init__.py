"""`show`: pictures of a bundle, an expert run or results, and the table behind each.

Where to find what: `subjects` opens the input; `materials` makes what the figures draw of it and of
the options; `files` writes; the figures themselves are in `ddlabel.figures`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ddlabel.commands.command import command
from ddlabel.commands.reporter import Reporter
from ddlabel.commands.show.files import check_files, write_files
from ddlabel.commands.show.materials import (
    check_kind,
    check_options_are_used,
    drawable_kinds,
    materials_of,
)
from ddlabel.commands.show.subjects import SubjectLike, open_subject
from ddlabel.core.config import ShowOptions
from ddlabel.core.errors import IncompatibleError
from ddlabel.core.registry import parse_spec
from ddlabel.figures import figures, style
from ddlabel.figures.registry import Drawing, default_names, kind_of


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure that was drawn.

    Attributes:
        spec: The spec of the figure.
        drawing: The figure of matplotlib, and the table of the numbers behind it.
        files: The files that were written: PNG, SVG and CSV.
    """

    spec: str
    drawing: Drawing
    files: Sequence[Path] = ()

    def png(self) -> bytes:
        """Return the picture as the content of a PNG file."""
        return style.file_content(self.drawing.figure, "png")

    def value(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "figure": self.spec,
            "files": [str(file) for file in self.files],
            "columns": [*self.drawing.table.columns],
            "rows": [[*row] for row in self.drawing.table.rows],
        }


def _json_value(pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    return [picture.value() for picture in pictures]


@command("show", ShowOptions, json_value=_json_value)
def show(
    subject: SubjectLike,
    out: str | Path | None = None,
    force: bool = False,
    *,
    options: ShowOptions,
    reporter: Reporter,
) -> list[Picture]:
    """Draw a bundle, an expert run or results.

    `subject` is a path or an object: a bundle, an expert run, or what `evaluate` or `sweep`
    returns. With `out`, a folder, each figure is written there as PNG and SVG, and its table as
    CSV. Without `figure` those that suit the subject are drawn.

    Raises:
        UsageError: matplotlib is not installed, a spec is wrong, or a figure is of another kind of
            input.
        InvalidInputError: The subject cannot be read.
        IncompatibleError: The subject lacks what a figure draws.
        OutputExistsError: A file exists and `force` is not set.
        StorageError: A file cannot be written.
    """
    style.require_matplotlib()
    opened = open_subject(subject, reporter)
    kinds = drawable_kinds(opened, options)
    specs = [*options.figure] or [name for kind in kinds for name in default_names(kind)]
    names = [parse_spec(spec)[0] for spec in specs]
    for name in names:
        check_kind(name, kinds)
    check_options_are_used(names, options)
    functions = [figures.resolve(spec) for spec in specs]
    if out is not None:
        for spec in specs:
            check_files(Path(out), spec, force=force)
    materials = materials_of(opened, kinds, options)
    pictures = []
    for spec, name, function in zip(specs, names, functions, strict=True):
        try:
            drawing = style.drawn(partial(function, materials[kind_of(name)]))
        except IncompatibleError as error:
            if options.figure:
                raise
            reporter.note(f"{name} is left out: {error}")
            continue
        for note in drawing.notes:
            reporter.note(f"{name}: {note}")
        files = () if out is None else write_files(Path(out), spec, drawing, force=force)
        pictures.append(Picture(spec=spec, drawing=drawing, files=files))
    if not pictures:
        raise IncompatibleError("there is nothing here that the figures of this input draw")
    return pictures
