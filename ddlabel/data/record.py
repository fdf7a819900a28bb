"""The record of a student of `evaluate` or of a cell of `sweep`: one line of JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self, get_args

from ddlabel.data.provenance import canonical_json, parse_json, sha256_of_text

Kind = Literal["student", "cell"]
_HEX_DIGITS = set("0123456789abcdef")
# Left out of the JSON where they are empty.
_OPTIONAL = ("role", "protocol_overridden", "origins")
_CHECKSUM = "sha256"
# The bytes that every line begins with: the names of the fields are sorted.
_BEGINNING = b'{"cost":{'


class DamagedRecordError(ValueError):
    """A record whose checksum does not match its content."""


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
        cost: seconds, FLOPs, device, precision, threads, versions and the like; no part of the key.
        role: the purpose of a student beside the labels that are evaluated: own, random, hard, ….
        protocol_overridden: the presets of the protocol that an option replaced.
        origins: where an input comes from, by its role: its `name`, and of a bundle also its
            numbers of `images` and `classes`, the `bytes` of its images and of each kind of label,
            source and temperature of its soft and dense `labels`, and, as `made_by`, its history as
            command lines; no part of the key.
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
    origins: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the record as canonical JSON, with the sha256 of the canonical JSON of the rest.

        Raises:
            ValueError: It holds NaN or infinity.
            TypeError: It holds something that JSON has no form for.
        """
        values = asdict(self)
        for name in _OPTIONAL:
            if not values[name]:
                del values[name]
        checksum = sha256_of_text(canonical_json(values))
        return canonical_json(values | {_CHECKSUM: checksum})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a record and verify its checksum.

        Raises:
            DamagedRecordError: The checksum does not match.
            ValueError, TypeError, KeyError: The text is not JSON, or not that of a record.
        """
        values = parse_json(text)
        _check_type("the record", values, dict)
        if _CHECKSUM not in values:
            raise ValueError("it has no sha256")
        checksum = values.pop(_CHECKSUM)
        if checksum != sha256_of_text(canonical_json(values)):
            raise DamagedRecordError("it does not match its sha256")
        record = cls(**values)
        if record.kind not in get_args(Kind):
            raise ValueError(f"the kind is {record.kind!r}")
        for name in ("key", "version", "role"):
            _check_type(name, getattr(record, name), str)
        for name in ("inputs", "options", "cost", "protocol_overridden", "origins"):
            _check_type(name, getattr(record, name), dict)
        for role, digest in record.inputs.items():
            _check_type(f"the digest of {role}", digest, str)
        for role, facts in record.origins.items():
            _check_origin(role, facts)
        if len(record.key) != 64 or not set(record.key) <= _HEX_DIGITS:
            raise ValueError(f"the key is {record.key!r}: expected a sha256")
        if record.kind == "student":
            accuracy = record.result["accuracy"]
            _check_type("the accuracy", accuracy, (int, float))
            if not 0 <= accuracy <= 1:
                raise ValueError(f"the accuracy is {accuracy}: expected 0 to 1")
        return record


def _check_origin(role: str, facts: Any) -> None:
    _check_type(f"the origin of {role}", facts, dict)
    lines = facts.get("made_by", [])
    _check_type(f"the history of {role}", lines, list)
    for text in (facts.get("name", ""), *lines):
        _check_type(f"a name or a command of {role}", text, str)
    for name in ("images", "classes"):
        _check_type(f"the {name} of {role}", facts.get(name, 1), int)
    sizes = facts.get("bytes", {})
    _check_type(f"the bytes of {role}", sizes, dict)
    for part, size in sizes.items():
        _check_type(f"the bytes of {part} of {role}", size, int)
    labels = facts.get("labels", {})
    _check_type(f"the labels of {role}", labels, dict)
    for kind, of_kind in labels.items():
        _check_type(f"{kind} labels of {role}", of_kind, dict)
        _check_type(f"the source of {kind} labels", of_kind["source"], str)
        _check_type(f"the temperature of {kind} labels", of_kind["temperature"], (int, float))


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


def begins_as_record(line: bytes) -> bool:
    """Return whether a line may be a part of a record that was cut off or damaged."""
    return line.startswith(_BEGINNING) or _BEGINNING.startswith(line)
