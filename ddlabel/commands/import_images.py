"""`import`: foreign files as a bundle. It needs no torch."""

import os
from pathlib import Path

from ddlabel.commands.command import Made, command
from ddlabel.commands.reporter import Reporter
from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import UsageError
from ddlabel.data import importers
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import Input, sha256_of_path

_SHOWN_CLASSES = 20


@command("import", ImportOptions)
def import_images(
    sources: str | Path | list[str | Path], *, options: ImportOptions, reporter: Reporter
) -> Made:
    """Make a bundle of foreign files: class folders or a zip of them, CIFAR, IDX, .npz, .pt files.

    `sources` is one path, or a list of a file of images and a file of labels.

    Raises:
        InvalidInputError: A file is missing, damaged or of no known kind.
        UnsafeInputError: A file could run code or exhaust the machine.
        UsageError: An option is missing or does not fit the source.
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    for source in sources:
        if not isinstance(source, str | os.PathLike):
            raise UsageError(
                f"expected paths of files, got an object of type {type(source).__name__}: save "
                "arrays with numpy.savez(images=…, labels=…) or torch.save first"
            )
    paths = [Path(source) for source in sources]
    bundle = importers.load(paths, options, reporter.note)
    inputs = [_file_input("source", path) for path in paths]
    if options.zca_from:
        inputs.append(_file_input("zca-from", Path(options.zca_from)))
    reporter.note(_describe_classes(bundle))
    return Made(bundle=bundle, inputs=inputs)


def _file_input(role: str, path: Path) -> Input:
    return Input(role=role, name=path.name, sha256=sha256_of_path(path))


def _describe_classes(bundle: Bundle) -> str:
    """Return the shape of the images, and the classes in their order, which is often wrong."""
    shape = " × ".join(map(str, bundle.images.shape[1:]))
    shown = enumerate(bundle.classes[:_SHOWN_CLASSES])
    names = ", ".join(f"{number} {name}" for number, name in shown)
    rest = bundle.num_classes - _SHOWN_CLASSES
    more = f", … {rest} more" if rest > 0 else ""
    return f"{len(bundle)} images of {shape}; classes in order: {names}{more}"
