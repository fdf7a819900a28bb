"""The registry of exporters: how one is declared, and how the kind of an output is chosen."""

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from ddlabel.core.config import ExportOptions
from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Entry, nearest
from ddlabel.data.bundle import Bundle

AUTO = "auto"
Write = Callable[[Bundle, str, ExportOptions], None]
# The parts of a bundle that an output may hold, and how a note says that one is lost.
PARTS = {
    "images": "the images",
    "exact pixels": "pixels of floating point: they are rounded to 256 levels and cut off at 0 and "
    "1",
    "order": "the order of the images: they are sorted by class (file names have their numbers)",
    "class names": "the names of the classes",
    "empty classes": "classes without an image",
    "normalisation": "mean and deviation of the real data",
    "hard": "the hard labels",
    "soft": "the soft labels",
    "label space": "that the soft labels have lost mass, or are directions",
    "views": "the views and their dense labels",
    "source rows": "the row of each image in the first data set",
    "history": "the history",
}


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """One kind of output.

    Attributes:
        write: Writes a bundle to a path, all of it or nothing. Its docstring begins with what the
            kind is.
        keeps: The parts of a bundle that it holds, of `PARTS`.
        suffixes: The suffixes of a file of this kind.
        is_folder: Whether it is a folder.
    """

    write: Write
    keeps: frozenset[str]
    suffixes: tuple[str, ...]
    is_folder: bool

    def lost(self, bundle: Bundle) -> list[str]:
        """Return what of a bundle the output does not hold."""
        return [
            text for part, text in PARTS.items() if part not in self.keeps and has(bundle, part)
        ]


class Exporters(dict[str, Exporter]):
    """Exporters by the name of their kind, which `--format` takes."""

    def add(
        self,
        name: str,
        *,
        keeps: Collection[str],
        suffixes: tuple[str, ...] = (),
        is_folder: bool = False,
    ) -> Callable[[Write], Write]:
        """Return a decorator that registers the function `write` of an exporter."""
        unknown = {*keeps} - {*PARTS}
        if unknown:
            raise ValueError(f"a bundle has no part {', '.join(unknown)}")

        def register(write: Write) -> Write:
            self[name] = Exporter(
                write=write, keeps=frozenset(keeps), suffixes=suffixes, is_folder=is_folder
            )
            return write

        return register

    def entries(self) -> list[Entry]:
        """Return every kind with the first line of what its exporter says of itself."""
        entries = []
        for name, exporter in self.items():
            summary = (inspect.getdoc(exporter.write) or "").split("\n")[0]
            entries.append(Entry(name=name, options={}, summary=summary))
        return entries


exporters = Exporters()


def choose(path: str, wanted: str) -> str:
    """Return the kind that `wanted` names; for `auto`, the one that has the suffix of the path.

    Raises:
        UsageError: There is no such kind, or no kind has the suffix alone.
    """
    if wanted != AUTO:
        if wanted not in exporters:
            raise UsageError(f"--format is {wanted!r}: {nearest(wanted, [AUTO, *exporters])}")
        return wanted
    if not path:
        raise UsageError("the name of the output is empty: name a file or a folder to write")
    suffix = Path(path).suffix.lower()
    for name, exporter in exporters.items():
        if suffix and suffix in exporter.suffixes:
            return name
    raise UsageError(
        f"{path}: its suffix {suffix!r} does not say what to write: choose --format "
        f"{', '.join(exporters)}"
    )


def has(bundle: Bundle, part: str) -> bool:
    """Return whether a bundle has something that an output without this part would lose."""
    if part == "exact pixels":
        return bundle.pixels.space == "unit"
    if part == "order":
        return bool((bundle.hard_labels[1:] < bundle.hard_labels[:-1]).any())
    if part == "class names":
        return bundle.classes != tuple(map(str, range(bundle.num_classes)))
    if part == "empty classes":
        return len(set(bundle.hard_labels.tolist())) < bundle.num_classes
    if part == "soft":
        return bundle.soft is not None
    if part == "label space":
        return bundle.soft is not None and bundle.soft.meta.space in ("mass", "direction")
    if part == "views":
        return bundle.dense is not None
    if part == "source rows":
        return bundle.source_index is not None
    if part == "history":
        return bool(bundle.history)
    return True
