"""CIFAR-10 and CIFAR-100 in the form of their authors: the python archive, packed or unpacked."""

import itertools
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.data.importers import budget
from ddlabel.data.importers.archives import first_members, is_archive, is_tar, open_tar
from ddlabel.data.importers.pickles import read_pickle
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.source import Source
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

_FILES = {
    "train": (*(f"data_batch_{number}" for number in range(1, 6)), "train"),
    "test": ("test_batch", "test"),
}
# The file with the class names, and its key for them.
_NAMES = {"batches.meta": b"label_names", "meta": b"fine_label_names"}
# The archives of the authors have 9 members.
_MAX_MEMBERS = 1000


def _recognise(paths: Sequence[Path]) -> Found | None:
    """Find a folder with a `batches.meta` or `meta` file, or a tar archive of CIFAR's files."""
    path = paths[0]
    if path.is_dir():
        names = [name for name in _NAMES if (path / name).is_file()]
        return Found(f"a folder of CIFAR (it has {names[0]})", Certainty.CONTENT) if names else None
    if not is_archive(is_tar, path):
        return None
    known = {*_NAMES, *itertools.chain.from_iterable(_FILES.values())}
    if any(PurePosixPath(member.name).name in known for member in first_members(path)):
        return Found("CIFAR's python archive", Certainty.CONTENT)
    return Found("a tar archive", Certainty.NAME, missing="the files of CIFAR")


@importers.add("cifar", recognise=_recognise, options={"split"})
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """CIFAR-10 or CIFAR-100: the python archive of its authors, packed or unpacked.

    All images of one part (`train` or `test`) are read, in the order of the files. The classes are
    sorted by name, which is CIFAR's order and that of class folders.

    Raises:
        InvalidInputError: The part is unknown, or the archive is damaged or another one.
        UnsafeInputError: A pickle asks for code, or a member declares too many bytes.
    """
    path = paths[0]
    require(
        options.part in _FILES,
        f"{path}: CIFAR has no part {options.part!r}: choose --split train or test",
    )
    # A damaged pickle can raise nearly anything; no code of its own can have run.
    with reading(path, "not a CIFAR python archive, or damaged"):
        names, images, hard = _read_part(path, options.part)
        whole = hard.dtype.kind in "iu" and hard.min() >= 0 and hard.max() < len(names)
        require(whole, f"the labels must be 0 … {len(names) - 1}: the file is damaged")
    # order[new number] is the old number of a class, new_numbers[old number] is its inverse.
    order = sorted(range(len(names)), key=names.__getitem__)
    new_numbers = np.argsort(order)
    return Source(images, new_numbers[hard], tuple(names[number] for number in order))


def _read_part(path: Path, part: str) -> tuple[list[str], Array, Array]:
    """Return the class names, the images [N, 3, 32, 32] and the labels [N] as they are stored."""
    members = _members(path, {*_NAMES, *_FILES[part]})
    meta = next(name for name in _NAMES if name in members)
    names = [name.decode() for name in read_pickle(members[meta])[_NAMES[meta]]]
    images = []
    labels = []
    for name in _FILES[part]:
        if name in members:
            # Dropped at once: otherwise there would be three copies of all pixels in the end.
            batch = read_pickle(members.pop(name))
            images.append(_pixels_of(batch[b"data"]))
            labels.append(_labels_of(batch.get(b"fine_labels", batch.get(b"labels"))))
    return names, np.concatenate(images), np.concatenate(labels)


def _pixels_of(data: Array) -> Array:
    require(data.dtype == np.uint8, f"the pixels are {data.dtype}: expected uint8")
    return data.reshape(-1, 3, 32, 32)


def _labels_of(labels: Array | list[int]) -> Array:
    """Return labels [N], which are an array or a flat list: a nested one could grow without end."""
    if isinstance(labels, np.ndarray):
        return labels
    are_numbers = isinstance(labels, list) and all(type(label) is int for label in labels)
    require(are_numbers, "the labels are no list of whole numbers: it is damaged")
    return np.array(labels)


def _members(path: Path, wanted: set[str]) -> dict[str, bytes]:
    """Return the content of the files with these names in a folder or a tar archive."""
    if path.is_dir():
        return _folder_members(path, wanted)
    members = {}
    with open_tar(path) as archive:
        for number, member in enumerate(archive):
            budget.check_budget("the archive", number + 1, _MAX_MEMBERS, "members")
            name = PurePosixPath(member.name).name
            if name not in wanted or not member.isfile():
                continue
            content = archive.extractfile(member)
            if content is not None:
                budget.check_budget(
                    f"the member {member.name!r}", member.size, budget.MAX_FILE_BYTES
                )
                members[name] = content.read()
    return members


def _folder_members(path: Path, wanted: set[str]) -> dict[str, bytes]:
    members = {}
    for name in wanted:
        file = path / name
        if file.is_file():
            budget.check_budget(name, file.stat().st_size, budget.MAX_FILE_BYTES)
            members[name] = file.read_bytes()
    return members
