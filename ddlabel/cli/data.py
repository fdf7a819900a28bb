"""`import` and `select`: images in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ddlabel import __version__, files, formats
from ddlabel.bundle import Bundle
from ddlabel.cli.command import BundleIn, BundleOut, Force, Say, command, finish, run_filter
from ddlabel.config import ImportOptions, SelectOptions
from ddlabel.errors import UsageError
from ddlabel.provenance import Entry, Input, sha256_of_path


def register(app: typer.Typer) -> None:
    """Add `import` and `select`."""

    @command(app, "import", ImportOptions)
    def import_(
        sources: Annotated[
            list[str], typer.Argument(metavar="SOURCE... OUT", help="one file or folder, or a pair of files; then OUT")
        ],
        options: ImportOptions,
        say: Say,
        force: Force = False,
    ) -> None:
        """Make a bundle of foreign files: class folders or a zip of them, CIFAR, IDX, .npz, a pair of .pt files."""
        if len(sources) < 2:
            raise UsageError("import needs a source and an output: ddlabel import SOURCE OUT")
        *paths, out = sources
        files.check_output(out, force=force)
        formats.format_of(out)
        from ddlabel import importers

        bundle = importers.load([Path(path) for path in paths], options)
        named = [("source", path) for path in paths]
        if options.zca_from is not None:
            named.append(("zca-from", options.zca_from))
        inputs = [Input(role=role, name=Path(path).name, sha256=sha256_of_path(Path(path))) for role, path in named]
        entry = Entry(command="import", version=__version__, options=options.recorded(), inputs=tuple(inputs))
        say.note(_classes(finish(bundle.with_entry(entry), out, say)))

    @command(app, "select", SelectOptions)
    def select(bundle: BundleIn, out: BundleOut, options: SelectOptions, say: Say, force: Force = False) -> None:
        """Choose images of each class at random."""
        from ddlabel.steps.select import select as step

        result = run_filter("select", bundle, out, options, lambda source: step(source, options), say, force=force)
        say.note(f"{len(result)} images, {options.ipc} of each of {len(result.classes)} classes")


def _classes(bundle: Bundle) -> str:
    """The images' shape and the classes in their order: a wrong order is the field's most frequent mistake."""
    shape = " × ".join(map(str, bundle.images.shape[1:]))
    first = ", ".join(f"{number} {name}" for number, name in enumerate(bundle.classes[:20]))
    more = f", … {len(bundle.classes) - 20} more" if len(bundle.classes) > 20 else ""
    return f"{len(bundle)} images of {shape}; classes in order: {first}{more}"
