"""The results file: one JSON record a line, for a student of `evaluate` or a cell of `sweep`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

from ddlabel.core.errors import InvalidInputError, StorageError, UsageError
from ddlabel.data import atomic
from ddlabel.data.provenance import canonical_json, sha256_of_text

SUFFIX = ".jsonl"
Kind = Literal["student", "cell"]
_NAMES: dict[Kind, str] = {"student": "a student of evaluate", "cell": "a cell of sweep"}
_HEX_DIGITS = set("0123456789abcdef")
# Left out of the JSON where they are empty.
_OPTIONAL = ("role", "protocol_overridden")


@dataclass(frozen=True, kw_only=True)
class Record:
    """The result of one student or of one cell of a sweep, and all that decided it.

    Attributes:
        kind: `student` or `cell`.
        key: sha256 (hexadecimal) of everything that decides the outcome, made by `key_of`.
        version: the version of ddlabel.
        inputs: the digest of each file that was read, by its role (bundle, test, teacher, zca).
        options: the options with the seed of a student, or the command and options of a cell.
        result: the figures of a student, with its `accuracy` in [0, 1]; the values that a cell's
            command printed.
        cost: seconds, FLOPs and the like; no part of the key.
        role: the purpose of a student beside the labels that are evaluated: own, random, hard, ….
        protocol_overridden: the presets of the protocol that an option replaced.
    """

    kind: Kind
    key: str
    version: str
    inputs: dict[str, str]
    options: dict[str, Any]
    result: Any
    cost: dict[str, Any]
    role: str = ""
    protocol_overridden: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the record as canonical JSON.

        Raises:
            ValueError: It holds NaN or infinity.
            TypeError: It holds something that JSON has no form for.
        """
        values = asdict(self)
        for name in _OPTIONAL:
            if not values[name]:
                del values[name]
        return canonical_json(values)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a record.

        Raises:
            ValueError, TypeError, KeyError: The text is not JSON, or not that of a record.
        """
        record = cls(**json.loads(text))
        if record.kind not in get_args(Kind):
            raise ValueError(f"the kind is {record.kind!r}")
        for name in ("key", "version", "role"):
            _check_type(name, getattr(record, name), str)
        for name in ("inputs", "options", "cost", "protocol_overridden"):
            _check_type(name, getattr(record, name), dict)
        for role, digest in record.inputs.items():
            _check_type(f"the digest of {role}", digest, str)
        if len(record.key) != 64 or not set(record.key) <= _HEX_DIGITS:
            raise ValueError(f"the key is {record.key!r}: expected a sha256")
        if record.kind == "student":
            accuracy = record.result["accuracy"]
            _check_type("the accuracy", accuracy, (int, float))
            if not 0 <= accuracy <= 1:
                raise ValueError(f"the accuracy is {accuracy}: expected 0 to 1")
        return record


def _check_type(name: str, value: object, expected: type | tuple[type, ...]) -> None:
    if not isinstance(value, expected):
        raise TypeError(f"{name} is {value!r}")


def key_of(
    kind: Kind,
    *,
    version: str,
    inputs: Mapping[str, str],
    options: Mapping[str, Any],
    role: str = "",
) -> str:
    """Return the sha256 (hexadecimal) of everything that decides an outcome.

    Leave out options that change how the work is done and not its outcome, and put the digest of a
    file in the place of its name.
    """
    decisive = {
        "kind": kind,
        "version": version,
        "inputs": dict(inputs),
        "options": dict(options),
        "role": role,
    }
    return sha256_of_text(canonical_json(decisive))


class Results:
    """A results file. Several processes may append to it at the same time."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def check_output(self) -> None:
        """Refuse a results file that cannot be one, before any training.

        Raises:
            UsageError: The suffix is not .jsonl.
            OutputExistsError: The path is a folder.
            StorageError: Its folder is missing or not writable.
        """
        if self.path.suffix != SUFFIX:
            raise UsageError(
                f"--out {self.path}: results are a {SUFFIX} file, to which records are appended"
            )
        atomic.check_output(str(self.path), force=True)

    def read(
        self,
        kind: Kind,
        note: Callable[[str], None] | None = None,
        *,
        serves: Callable[[Record], bool] | None = None,
    ) -> dict[str, Record]:
        """Return the records of the file by key; none if there is no file.

        A last line that a crash cut off is removed from the file, and `note` is called with a
        sentence that says so. Of several records with one key the last counts. A record for which
        `serves` returns False, because it lacks figures that are asked for, is left out.

        Raises:
            InvalidInputError: A line is not a record, or one of another kind.
        """
        lines, was_cut = atomic.whole_lines(self.path)
        if was_cut and note is not None:
            note(f"{self.path}: its last line was cut off, and is removed")
        records: dict[str, Record] = {}
        for number, line in enumerate(lines, start=1):
            record = self._parse(line, number)
            if record.kind != kind:
                raise InvalidInputError(
                    f"{self.path}, line {number}: {_NAMES[record.kind]}, expected {_NAMES[kind]}: "
                    "name another --out"
                )
            if serves is None or serves(record):
                records[record.key] = record
        return records

    def _parse(self, line: bytes, number: int) -> Record:
        try:
            return Record.from_json(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InvalidInputError(
                f"{self.path}, line {number}: not a result of ddlabel: name another --out"
            ) from None

    def append(self, record: Record) -> None:
        """Append a record.

        Raises:
            StorageError: The disk is full or the operating system refuses.
            ValueError, TypeError: The record cannot be written as JSON.
        """
        line = record.to_json()
        try:
            atomic.append_line(self.path, line)
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror or error}") from error
