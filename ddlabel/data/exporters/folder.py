"""A folder of PNG files in one folder for each class, with a table of the labels beside them."""

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from ddlabel.core.config import ExportOptions
from ddlabel.data.atomic import Chunk
from ddlabel.data.atomic_folder import write_folder
from ddlabel.data.bundle import Bundle
from ddlabel.data.exporters.labels import csv_lines
from ddlabel.data.exporters.pixels import check_png, png
from ddlabel.data.exporters.registry import exporters

LABELS = "labels.csv"
CLASSES = "classes.txt"
# Characters besides letters and digits that the name of a folder may have.
_PLAIN = " _-.,'()&"


@exporters.add("folder", keeps=("images", "class names", "hard", "soft"), is_folder=True)
def write(bundle: Bundle, path: str, options: ExportOptions) -> None:  # noqa: ARG001
    """A folder of PNG files by class, with the labels beside them in `labels.csv`.

    `classes.txt` has the names of the class folders in the order of the classes. A class name that
    cannot name a folder is escaped as in addresses (%2F).

    Raises:
        IncompatibleError: The images are neither grey nor of three colours.
    """
    check_png(bundle)
    write_folder(path, _files(bundle))


def _files(bundle: Bundle) -> Iterator[tuple[str, Iterator[Chunk] | list[bytes]]]:
    folders = folder_names(bundle.classes)
    names = []
    for row, hard in enumerate(bundle.hard_labels.tolist()):
        name = f"{folders[hard]}/{row:06d}.png"
        names.append(name)
        yield name, [png(bundle.images[row])]
    with_images = set(bundle.hard_labels.tolist())
    listed = [name for number, name in enumerate(folders) if number in with_images]
    yield CLASSES, ["".join(f"{name}\n" for name in listed).encode()]
    yield LABELS, csv_lines(bundle, names)


def folder_names(classes: Sequence[str]) -> list[str]:
    """Return a name of a folder for each class name, all of them different."""
    names = []
    for name in classes:
        escaped = quote(name, safe=_PLAIN)
        # A hidden folder, the folder itself, and the one above it.
        names.append(f"%2E{escaped[1:]}" if escaped.startswith(".") else escaped)
    return names
