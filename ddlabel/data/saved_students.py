"""Students that `evaluate --save-students` keeps: a file of weights each, in one folder."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from ddlabel.data import atomic, run_files
from ddlabel.data.provenance import canonical_json
from ddlabel.data.reading import reading
from ddlabel.data.run_files import Arrays
from ddlabel.data.schema import require

_SUFFIX = ".safetensors"
_DIGITS_OF_KEY = 16
_TYPES = {
    "key": str,
    "net": str,
    "channels": int,
    "size": int,
    "bundle": str,
    "options": dict,
    "accuracy": int | float,
}


@dataclass(frozen=True, kw_only=True)
class SavedStudent:
    """What is needed to build a student again, and to tell it from others.

    `mean` and `std` [C] normalise the pixels. `key`, `inputs` and `options` are those of its
    record, and `bundle` is the name of its bundle.
    """

    key: str
    net: str
    classes: tuple[str, ...]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bundle: str
    inputs: Mapping[str, str]
    options: Mapping[str, Any]
    accuracy: float

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the text that `save` writes.

        Raises:
            ValueError, TypeError, KeyError: It has another form.
        """
        values = json.loads(text)
        for name in ("classes", "mean", "std"):
            values[name] = tuple(values[name])
        student = cls(**values)
        for name, expected in _TYPES.items():
            if not isinstance(getattr(student, name), expected):
                raise TypeError(f"{name} is {getattr(student, name)!r}")
        for name, expected in (("classes", str), ("mean", int | float), ("std", int | float)):
            if not all(isinstance(each, expected) for each in getattr(student, name)):
                raise TypeError(f"{name} is {getattr(student, name)!r}")
        return student


def student_path(folder: str | Path, key: str) -> Path:
    """Return the file of the student with a key."""
    return Path(folder) / f"{key[:_DIGITS_OF_KEY]}{_SUFFIX}"


def save(folder: str | Path, about: SavedStudent, weights: Arrays) -> None:
    """Write a student; one with the same key, which has the same weights, is replaced.

    Raises:
        StorageError: The operating system refuses.
    """
    if not Path(folder).is_dir():
        atomic.make_folder(Path(folder))
    text = canonical_json(asdict(about))
    run_files.write_signed_arrays(student_path(folder, about.key), weights, about=text)


def read_all(folder: str | Path) -> list[tuple[SavedStudent, Path]]:
    """Return the students of a folder with their files, in the order of bundle, options and seed.

    Raises:
        InvalidInputError: There is no such folder, it has no students, or a file is damaged.
    """
    with reading(Path(folder), "cannot be read as a folder of students"):
        require(Path(folder).is_dir(), "there is no such folder: make it with --save-students")
    found = []
    for path in sorted(Path(folder).glob(f"*{_SUFFIX}")):
        _, text = run_files.read_signed_arrays(path)
        with reading(path, "it is not a student of evaluate --save-students"):
            found.append((SavedStudent.from_json(text), path))
    with reading(Path(folder), "cannot be read as a folder of students"):
        require(found, "there is no student in it: make some with evaluate --save-students")
    return sorted(found, key=lambda each: (each[0].bundle, canonical_json(dict(each[0].options))))


def weights_of(path: Path) -> Arrays:
    """Return the parameters and buffers of a student by name.

    Raises:
        InvalidInputError: The file is missing or damaged.
    """
    arrays, _ = run_files.read_signed_arrays(path)
    return arrays
