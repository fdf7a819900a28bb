"""WebDataset shards: tar archives of samples `KEY.jpg`, `KEY.cls`, and maybe `KEY.json`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from tarfile import TarFile, TarInfo
from typing import Any, NamedTuple

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError
from ddlabel.data.importers import budget
from ddlabel.data.importers.archives import first_members, is_archive, is_tar, open_tar
from ddlabel.data.importers.image_list import read_images
from ddlabel.data.importers.images import Member
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.soft_rows import SoftLabels, SoftRows, num_classes_of, soft_row
from ddlabel.data.importers.source import Source
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

_IMAGES = ("jpg", "jpeg", "png")
_CLASS = "cls"
_ABOUT = "json"
# What is read of a JSON object.
_SOFT = "soft_label"
_SPACE = "label_space"
_CLASS_NAME = "class_name"
_MAX_SHARDS = 10_000
# A class number has at most 5 digits.
_MAX_CLASS_BYTES = 16
# A soft label of 65,536 classes has about 1.5 MB.
_MAX_ABOUT_BYTES = 1 << 22


class _About(NamedTuple):
    """What the JSON of a sample says of it; None is what it does not say."""

    soft: Array | None = None
    space: str | None = None
    class_name: Any = None


class _Sample(NamedTuple):
    """A sample of a shard: the member with its image, its class number, and its JSON."""

    key: str
    image: TarInfo
    hard_label: int
    about: _About


def _recognise(paths: Sequence[Path]) -> Found | None:
    """Find tar archives with images and classes among their first members."""
    if not all(path.is_file() and is_archive(is_tar, path) for path in paths):
        return None
    found = {_split(info.name)[1] for info in first_members(paths[0])}
    if not found & set(_IMAGES):
        return None
    what = "a tar archive of images" if len(paths) == 1 else f"{len(paths)} tar archives of images"
    if _CLASS not in found:
        return Found(what, Certainty.CONTENT, missing=f".{_CLASS} files beside them (WebDataset)")
    return Found(f"{what} and classes (WebDataset)", Certainty.MARK)


@importers.add(
    "webdataset",
    recognise=_recognise,
    options={"size", "skip_bad", "label_space"},
    most_paths=_MAX_SHARDS,
)
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """WebDataset: one or several tar archives with `KEY.jpg` or `.png` and `KEY.cls` (a number).

    The images keep their order. A `KEY.json` may have the `soft_label`, its `label_space` and the
    `class_name`. Other members are left out.

    Raises:
        InvalidInputError: An archive is damaged, a sample has no image or no class, or images
            cannot be read or differ in size.
        UnsafeInputError: A member is a link or a device, points outside of the archive, or is too
            large.
        UsageError: The space of the soft labels is not clear.
    """
    others: set[str] = set()
    shards: dict[Path, list[_Sample]] = {}
    for path in paths:
        with reading(path, "cannot be read as a tar archive"), open_tar(path) as archive:
            shards[path] = _samples(archive, others)
            require(shards[path], "it has no sample")
    samples = [sample for shard in shards.values() for sample in shard]
    hard_labels = np.array([sample.hard_label for sample in samples])
    name = str(paths[0])
    soft = _soft_labels(name, samples, options)
    num_classes = num_classes_of(name, hard_labels, soft)
    read = read_images(paths[0].name, _members(shards), len(samples), options)
    notes = list(read.notes)
    if others:
        listed = ", ".join(f".{suffix}" for suffix in sorted(others))
        notes.append(f"note: members that are not read: {listed}")
    return Source(
        read.images,
        hard_labels[read.rows],
        _class_names(samples, num_classes),
        soft_labels=None if soft is None else soft.values[read.rows],
        label_space="logits" if soft is None else soft.space,
        notes=tuple(notes),
        facts=read.facts,
    )


def _soft_labels(
    name: str, samples: Sequence[_Sample], options: ImportOptions
) -> SoftLabels | None:
    """Return the soft labels of all samples; None if they have none."""
    rows = SoftRows()
    with reading(name, "cannot be read"):
        for sample in samples:
            rows.add(f"the sample {sample.key!r}", sample.about.soft)
    return rows.labels(name, [each.about.space for each in samples], options.label_space)


def _class_names(samples: Sequence[_Sample], num_classes: int) -> tuple[str, ...]:
    """Return the names that the samples give the classes; numbers where they do not give all."""
    names: dict[int, Any] = {}
    for sample in samples:
        name = names.setdefault(sample.hard_label, sample.about.class_name)
        if not isinstance(name, str) or name != sample.about.class_name:
            names = {}
            break
    are_all_named = len(names) == num_classes == len(set(names.values()))
    return tuple(names[n] if are_all_named else str(n) for n in range(num_classes))


def _samples(archive: TarFile, others: set[str]) -> list[_Sample]:
    """Return the samples of a shard; the suffixes of members that are not read go to `others`."""
    images: dict[str, TarInfo] = {}
    classes: dict[str, int] = {}
    about: dict[str, _About] = {}
    for info in archive:
        _check_member(info)
        key, suffix = _split(info.name)
        if info.isfile() and suffix == _CLASS:
            require(key not in classes, f"the sample {key!r} is there twice")
            classes[key] = _class_number(archive, info)
        elif info.isfile() and suffix in _IMAGES:
            require(key not in images, f"the sample {key!r} is there twice, or has two images")
            images[key] = info
        elif info.isfile() and suffix == _ABOUT:
            about[key] = _read_about(archive, info)
            if all(part is None for part in about[key]):
                others.add(suffix)
        elif info.isfile():
            others.add(suffix)
    lonely = sorted(images.keys() ^ classes.keys())
    if lonely:
        missing = f".{_CLASS}" if lonely[0] in images else "image"
        raise InvalidInputError(
            f"{len(lonely)} samples lack an image or a class: {lonely[0]!r} has no {missing}"
        )
    return [
        _Sample(key, info, classes[key], about.get(key, _About())) for key, info in images.items()
    ]


def _members(samples: Mapping[Path, Sequence[_Sample]]) -> Iterator[Member]:
    """Yield the images of all shards, which are read before the next one is asked for."""
    for path, shard in samples.items():
        with reading(path, "cannot be read as a tar archive"), open_tar(path) as archive:
            for sample in shard:
                name = sample.image.name
                read = partial(_read_member, archive, sample.image)
                yield Member(PurePosixPath(name), read, f"{path}: {name}")


def _split(name: str) -> tuple[str, str]:
    """Return the key and the suffix of a member: `a/b.seg.png` is `a/b` and `seg.png`."""
    folder, slash, file = name.rpartition("/")
    key, _, suffix = file.partition(".")
    return f"{folder}{slash}{key}", suffix.lower()


def _check_member(info: TarInfo) -> None:
    name = PurePosixPath(info.name)
    require(
        ".." not in name.parts and not name.is_absolute(),
        f"the member {info.name!r} points outside the archive",
        UnsafeInputError,
    )
    require(
        info.isfile() or info.isdir(),
        f"the member {info.name!r} is a link or a device: pack the files themselves",
        UnsafeInputError,
    )
    budget.check_budget(f"the member {info.name!r}", info.size, budget.MAX_FILE_BYTES)


def _class_number(archive: TarFile, info: TarInfo) -> int:
    require(
        info.size <= _MAX_CLASS_BYTES,
        f"{info.name!r} has {info.size} bytes: expected a class number",
    )
    text = _read_member(archive, info).decode("ascii", "replace").strip()
    require(
        text.isdecimal() and text.isascii(),
        f"{info.name!r} holds {text!r}: expected a class number 0, 1, 2, …",
    )
    return int(text)


def _read_about(archive: TarFile, info: TarInfo) -> _About:
    """Return what is known of a JSON object; nothing of JSON of another kind."""
    budget.check_budget(f"the member {info.name!r}", info.size, _MAX_ABOUT_BYTES)
    with reading(info.name, "cannot be read as JSON"):
        value = json.loads(_read_member(archive, info))
        if not isinstance(value, dict):
            return _About()
        soft = soft_row(value[_SOFT]) if _SOFT in value else None
        space = value.get(_SPACE)
        require(space is None or isinstance(space, str), f"{_SPACE} is no text")
        return _About(soft, space, value.get(_CLASS_NAME))


def _read_member(archive: TarFile, info: TarInfo) -> bytes:
    file = archive.extractfile(info)
    assert file is not None  # it is a regular file
    content = file.read()
    require(len(content) == info.size, f"the member {info.name!r} is cut off")
    return content
