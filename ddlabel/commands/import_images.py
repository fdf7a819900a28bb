"""`import`: foreign files as a bundle. It needs no torch."""

from pathlib import Path

from ddlabel.commands.class_lists import class_list_inputs, describe_classes
from ddlabel.commands.command import Made, command
from ddlabel.commands.hard_labels import DERIVED
from ddlabel.commands.inputs import source_paths
from ddlabel.commands.reporter import Reporter
from ddlabel.core.config import ImportOptions
from ddlabel.data import importers
from ddlabel.data.provenance import (
    HARD_LABELS,
    LARGEST_ENTRIES,
    Input,
    name_of_path,
    sha256_of_path,
)


@command("import", ImportOptions)
def import_images(
    sources: str | Path | list[str | Path], *, options: ImportOptions, reporter: Reporter
) -> Made:
    """Make a bundle of foreign files: class folders, CIFAR, IDX, arrays, distilled sets of others.

    `sources` is one path, or a list of the files of one set, such as its images and its labels.

    Raises:
        InvalidInputError: A file is missing, damaged or of no known kind.
        UnsafeInputError: A file could run code or exhaust the machine.
        UsageError: An option is missing or does not fit the source.
    """
    paths = source_paths(
        sources, "save arrays with numpy.savez(images=…, labels=…) or torch.save first"
    )
    bundle, facts = importers.load(paths, options, reporter.note)
    inputs = [_file_input("source", path) for path in paths]
    if options.zca_from:
        inputs.append(_file_input("zca-from", Path(options.zca_from)))
    if options.hard_labels:
        inputs.append(_file_input("hard-labels", Path(options.hard_labels)))
    inputs += class_list_inputs(options)
    shape = " × ".join(map(str, bundle.images.shape[1:]))
    reporter.note(f"{len(bundle)} images of {shape}; {describe_classes(bundle.classes)}")
    if facts.get(HARD_LABELS) == LARGEST_ENTRIES:
        reporter.warn(
            f"warning: {DERIVED}, which may be other classes: give these with --hard-labels FILE, "
            "or --class-sorted if the images are sorted by class"
        )
    return Made(bundle=bundle, inputs=inputs, facts=facts)


def _file_input(role: str, path: Path) -> Input:
    return Input(role=role, name=name_of_path(path), sha256=sha256_of_path(path))
