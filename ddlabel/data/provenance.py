"""Digests of contents, and the history of commands that made a bundle."""

import hashlib
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ddlabel import __version__
from ddlabel.core.config import MAKERS, TrialOptions
from ddlabel.core.errors import InvalidInputError

# The fact that says where the hard labels of a bundle come from, and its values.
HARD_LABELS = "hard_labels"
# The learning rate of students that was learned with labels or images.
LEARNED_LR = "learned_lr"
LARGEST_ENTRIES = "the largest entries of the imported labels"
GIVEN = "given"
# The role of the files of `import` and `import-labels` among inputs.
SOURCE = "source"
_STANDARD = "-"
# The options of a choice by trial: once it is made, the command needs them no more.
_OF_TRIALS = {"real", "trial_net", "trial_steps", "trials"}
# How many patches wide and high each image is (RDED).
FACTOR = "factor"
_CHUNK_BYTES = 1 << 24
# The deepest header that this program writes has 7 levels: a list in the options of a command.
_MAX_DEPTH = 32


def canonical_json(value: Any) -> str:
    """Return the canonical JSON text of a value: keys sorted, no spaces.

    Raises:
        ValueError: The value holds NaN or infinity.
        TypeError: The value holds something that JSON has no form for.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text in which no object has a name twice.

    Readers differ in which of the two counts, and a line that was cut off and glued to another can
    look like that.

    Raises:
        JSONDecodeError: The text is not JSON, or an object has a name twice.
        UnicodeDecodeError, RecursionError: The text is not UTF-8, or nested too deep.
    """
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise json.JSONDecodeError("a name stands twice", "", 0)
    return values


def check_depth(value: Any) -> None:
    """Check that lists and objects do not lie in one another too deep for what copies them.

    Raises:
        ValueError: There are more than 32 levels.
    """
    level = [value]
    for _ in range(_MAX_DEPTH):
        inner: list[Any] = []
        for part in level:
            if isinstance(part, dict):
                inner += part.values()
            elif isinstance(part, list):
                inner += part
        level = inner
    if any(isinstance(part, dict | list) for part in level):
        raise ValueError(f"more than {_MAX_DEPTH} lists and objects lie in one another")


def sha256_of_text(text: str) -> str:
    """Return the hexadecimal sha256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def array_chunks(array: NDArray[Any]) -> Iterator[memoryview]:
    """Yield the bytes of an array in C order, in chunks of rows.

    A bundle file holds these bytes, and the sha256 of an array is taken over them.
    """
    array = np.atleast_1d(array)  # a counter of a network has no axis
    row_bytes = max(1, array[:1].nbytes)
    num_rows = max(1, _CHUNK_BYTES // row_bytes)
    for start in range(0, len(array), num_rows):
        # The memory of a slice that is not contiguous would be other numbers: it is copied.
        block = np.ascontiguousarray(array[start : start + num_rows])
        yield block.reshape(-1).view(np.uint8).data


def sha256_of_array(array: NDArray[Any]) -> str:
    """Return the hexadecimal sha256 of an array's bytes in C order."""
    digest = hashlib.sha256()
    for chunk in array_chunks(array):
        digest.update(chunk)
    return digest.hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_path(path: Path) -> str:
    """Return the digest of a file, or of a folder: names of its files and their contents, sorted.

    The names are relative to the folder.
    """
    if path.is_file():
        return sha256_of_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    content = [[file.relative_to(path).as_posix(), sha256_of_file(file)] for file in files]
    return sha256_of_text(canonical_json(content))


def name_of_path(path: str | Path) -> str:
    """Return the name of a file or folder in a history: the path as it was given.

    Of an absolute path it is the last part alone: its folders may name a user, and the same command
    in another place should give the same bytes.
    """
    given = Path(path)
    is_place = given.is_absolute() or given.name == ""
    return given.resolve().name if is_place else given.as_posix()


@dataclass(frozen=True, kw_only=True)
class Input:
    """A file or folder that a command read besides its bundle: `name_of_path`, and sha256."""

    role: str
    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One command of a bundle's history, with all that is needed to run it again.

    `bundle` is the digest of the bundle that the command read, or empty. Paths of bundles are left
    out on purpose: a pipe and a file give the same bytes. `facts` are what the command found in its
    inputs and no option says, such as a learning rate that was distilled with the images.
    """

    command: str
    version: str
    options: dict[str, Any] = field(default_factory=dict)
    bundle: str = ""
    inputs: tuple[Input, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of an entry; `facts` are left out if there are none."""
        value = asdict(self)
        if not self.facts:
            del value["facts"]
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Make an entry out of its JSON object in a header.

        Raises:
            TypeError, KeyError, ValueError, AttributeError: The value has another form.
        """
        inputs = []
        for item in value["inputs"]:
            texts = {key: str(text) for key, text in item.items()}
            inputs.append(Input(**texts))
        return cls(
            command=str(value["command"]),
            version=str(value["version"]),
            options=dict(value["options"]),
            bundle=str(value["bundle"]),
            inputs=tuple(inputs),
            facts={str(name): _fact(fact) for name, fact in value.get("facts", {}).items()},
        )


def _fact(value: Any) -> Any:
    """Return a fact of a header: a text, a number, numbers, or lists of numbers by name.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(value, dict):
        return {str(name): _fact(inner) for name, inner in value.items()}
    numbers = value if isinstance(value, list) else [value]
    are_numbers = bool(numbers) and all(type(each) in (int, float) for each in numbers)
    if not are_numbers and not isinstance(value, str):
        raise TypeError(f"a fact of the history is a {type(value).__name__}")
    return value


def hard_labels_are_derived(history: Sequence[Entry]) -> bool:
    """Return whether the hard labels are only the largest entries of imported labels.

    The last command that says where hard labels come from decides.
    """
    known = [entry.facts[HARD_LABELS] for entry in history if HARD_LABELS in entry.facts]
    return bool(known) and known[-1] == LARGEST_ENTRIES


def patch_factor(history: Sequence[Entry]) -> int | None:
    """Return how many patches wide and high each image is (RDED), or None if no command says it.

    The last command that says it decides.

    Raises:
        InvalidInputError: The history says something that is not a number of patches.
    """
    known = [entry.facts[FACTOR] for entry in history if FACTOR in entry.facts]
    if not known:
        return None
    factor = known[-1]
    if type(factor) is not int or factor < 1:
        raise InvalidInputError(
            f"the bundle's history says that its images have a factor of {factor!r}: expected a "
            "whole number of at least 1"
        )
    return factor


def shell_lines(history: Sequence[Entry]) -> list[str]:
    """Return the command lines that would make a bundle again, one for each entry of its history.

    Inputs stand under their names in the history, see `name_of_path`.
    """
    return [_shell_line(entry) for entry in history]


def _shell_line(entry: Entry) -> str:
    # The bundle comes from standard input, if there is one, and goes to standard output.
    return shlex.join(command_words(entry, out=_STANDARD))


def command_words(entry: Entry, *, out: str) -> list[str]:
    """Return the words of the command line of an entry, which writes to `out`.

    Options that have their default are left out. So are those of a choice by trial, whose outcome
    is among the others.
    """
    sources = [given.name for given in entry.inputs if given.role == SOURCE]
    bundle = [_STANDARD] if entry.bundle else []
    words = ["ddlabel", entry.command, *bundle, *sources, out]
    maker = MAKERS.get(entry.command)
    left_out = _OF_TRIALS if maker is not None and issubclass(maker, TrialOptions) else set()
    for given in entry.inputs:
        if given.role != SOURCE and given.role not in left_out:
            words += _flags(given.role, given.name)
    defaults = _defaults_of(entry)
    for name, value in entry.options.items():
        is_default = name in defaults and canonical_json(value) == canonical_json(defaults[name])
        if name not in left_out and not is_default:
            words += _flags(name, value)
    return words


def _defaults_of(entry: Entry) -> dict[str, Any]:
    """Return the defaults of a command's options; none for those of another version."""
    maker = MAKERS.get(entry.command)
    if maker is None or entry.version != __version__:
        return {}
    return {declared.name: declared.default for declared in fields(maker)}


def _flags(name: str, value: Any) -> list[str]:
    """Return the words of an option; a list repeats it, and true stands without a value."""
    flag = f"--{name.replace('_', '-')}"
    values = value if isinstance(value, list | tuple) else [value]
    words: list[str] = []
    for single in values:
        if single is None or single is False:
            continue
        words.append(flag)
        if single is not True:
            words.append(str(single))
    return words
