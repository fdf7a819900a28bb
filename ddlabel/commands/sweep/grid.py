"""The grid of a sweep: a file or a dict, and the cells that it spans."""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from ddlabel import __version__
from ddlabel.commands.execute import Call, prepare_call
from ddlabel.core.errors import DDLabelError, InvalidInputError, UsageError
from ddlabel.core.toml_file import read_toml
from ddlabel.core.values import shown
from ddlabel.data import formats
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.provenance import canonical_json, sha256_of_path, sha256_of_text
from ddlabel.data.reading import is_standard_input, is_standard_output
from ddlabel.data.record import key_of

Values = dict[str, Any]
# Returns the digest of the file or folder of a name, or None.
DigestOf = Callable[[str], str | None]
# Commands that cannot be swept.
_EXCLUDED = ("sweep", "demo")
# Options that change how the work is done and not its outcome: they make other cells only as axes.
_EXECUTION_OPTIONS = ("force", "device", "compile", "stack")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of the values of a grid.

    Attributes:
        command: The name of the command.
        given: Its inputs, options and output by name.
        place: The values of the axes, for people.
        out: The file or folder that it makes; None if it makes none.
        inputs: The digests of the files and folders that it names, by name of the option.
        key: sha256 of all that decides the outcome.
    """

    command: str
    given: Values
    place: str
    out: Path | None
    inputs: dict[str, str]
    key: str

    @property
    def options(self) -> Values:
        """The command and its values, as a record has them."""
        return {"command": self.command, **self.given}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A command, the values that all cells share, and the values of the axes.

    Attributes:
        name: The name in messages.
        command: The name of the command.
        fixed: The values that all cells share, by option.
        axes: The values of each option that varies. The last axis changes fastest.
    """

    name: str
    command: str
    fixed: Values
    axes: dict[str, list[Any]]

    @classmethod
    def of(cls, grid: str | Path | Mapping[str, Any]) -> Self:
        """Read a grid from a TOML file, or take it from a dict of the same form.

        Raises:
            InvalidInputError: The file is missing, or cannot be read as TOML.
            StorageError: The operating system refuses to read it.
            UsageError: The content is not a grid.
        """
        if isinstance(grid, Mapping):
            return cls._from_dict(grid, "the grid")
        path = Path(grid)
        return cls._from_dict(read_toml(path), str(path))

    @classmethod
    def _from_dict(cls, content: Mapping[str, Any], name: str) -> Self:
        unknown = content.keys() - {"command", "options", "axes"}
        if unknown or "command" not in content:
            got = ", ".join(sorted(content)) or "nothing"
            raise UsageError(f"{name} has {got}: expected command, [options] and [axes]")
        command = content["command"]
        if command in _EXCLUDED:
            raise UsageError(f"{name}: {command} cannot be swept: name another command")
        fixed = _read_table(content, "options", name)
        axes = _read_table(content, "axes", name)
        for axis, values in axes.items():
            if not isinstance(values, list) or not values:
                raise UsageError(
                    f"{name}: the axis {axis} is {shown(values)}: expected a list of values"
                )
            if axis in fixed:
                raise UsageError(
                    f"{name}: {axis} is in [options] and [axes]: leave one of them out"
                )
        return cls(name=name, command=str(command), fixed=fixed, axes=axes)

    def cells(self) -> list[Cell]:
        """Return the cells, each checked as if it were run. Cells of one key are one cell.

        Raises:
            UsageError: A cell cannot be run, or two cells would write the same output.
        """
        digest_of = functools.cache(_digest)
        cells: dict[str, Cell] = {}
        owners: dict[Path, str] = {}
        for combination in itertools.product(*self.axes.values()):
            of_axes = dict(zip(self.axes, combination, strict=True))
            cell = self._cell(of_axes, digest_of)
            cells.setdefault(cell.key, cell)
            if cell.out is None:
                continue
            owner = owners.setdefault(cell.out.resolve(), cell.key)
            if owner != cell.key:
                raise UsageError(
                    f"{self.name}: several cells would write {cell.out}: name the axes in `out`, "
                    "such as {NAME}"
                )
        return list(cells.values())

    def _cell(self, of_axes: Values, digest_of: DigestOf) -> Cell:
        """Return the cell of a combination, with the placeholders of `out` filled in.

        Raises:
            UsageError: The command refuses these values.
        """
        given = self.fixed | of_axes
        words = {name: "+".join(map(str, _as_list(value))) for name, value in given.items()}
        if "out" in given:
            given["out"] = _fill_placeholders(words)
        if any(_is_standard(part) for value in given.values() for part in _as_list(value)):
            raise UsageError(
                f"{self.name}: a cell has no standard input and output: name files in place of -"
            )
        call = prepare_call(self.command, given)
        decisive = {
            name: value
            for name, value in given.items()
            if name in of_axes or name not in _EXECUTION_OPTIONS
        }
        inputs = _digests_of_inputs(decisive, digest_of)
        options: Values = {"command": self.command}
        for name in decisive.keys() - inputs.keys():
            options[name] = [str(part) for part in _as_list(decisive[name])]
        return Cell(
            command=self.command,
            given=given,
            place=" ".join(f"{name}={words[name]}" for name in of_axes),
            out=_output_of(call),
            inputs=inputs,
            key=key_of("cell", version=__version__, inputs=inputs, options=options),
        )


def _read_table(content: Mapping[str, Any], table: str, name: str) -> Values:
    """Return a table of a grid, with underscores in the names of options and paths as text."""
    values = content.get(table, {})
    if not isinstance(values, Mapping):
        raise UsageError(f"{name}: [{table}] is {shown(values)}: expected a table of options")
    return {key.replace("-", "_"): _plain(value, f"{name}: {key}") for key, value in values.items()}


def _plain(value: Any, where: str) -> Any:
    """Return a value that a record can hold.

    Raises:
        UsageError: It is an object, such as a bundle.
    """
    if isinstance(value, list | tuple):
        return [_plain(part, where) for part in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if not isinstance(value, str | int | float):
        raise UsageError(f"{where} is {shown(value)}: expected a text, a number, true or false")
    return value


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _fill_placeholders(words: Mapping[str, str]) -> str:
    """Return `out` with the values of options in the place of their names in braces."""
    in_file_names = {name: word.replace("/", "-") for name, word in words.items()}
    try:
        return words["out"].format_map(in_file_names)
    except (LookupError, ValueError, AttributeError):
        names = ", ".join(words)
        raise UsageError(f"out is {words['out']!r}: in braces use {names} only") from None


def _is_standard(value: Any) -> bool:
    """Return whether a value names standard input or output."""
    return isinstance(value, str) and (is_standard_input(value) or is_standard_output(value))


def _output_of(call: Call) -> Path | None:
    """Return the file or folder that a command makes.

    The option `out` of evaluate is not one: it is a results file that cells may share.
    """
    out = call.out or call.inputs.get("out")
    return None if out is None else Path(out)


def _digests_of_inputs(values: Values, digest_of: DigestOf) -> dict[str, str]:
    """Return the digests of the options that name files or folders, joined where there are several.

    The output is not an input, whatever is there.
    """
    inputs = {}
    for name, value in values.items():
        texts = [str(part) for part in _as_list(value)]
        digests = [digest_of(text) for text in texts]
        if name != "out" and any(digests):
            pairs = zip(texts, digests, strict=True)
            inputs[name] = " + ".join(digest or text for text, digest in pairs)
    return inputs


def _digest(name: str) -> str | None:
    """Return the digest of the bundle, the expert run, the file or the folder of this name.

    None if there is none, or if it is damaged: the command will say so.
    """
    path = Path(name)
    with contextlib.suppress(DDLabelError, OSError):
        if path.suffix.lower() in formats.FORMATS:
            return formats.read_header(name).digest
        with contextlib.suppress(InvalidInputError):
            return _digest_of_runs(ExpertRun.find(name))
        return sha256_of_path(path) if path.exists() else None
    return None


def _digest_of_runs(runs: list[ExpertRun]) -> str:
    """Return the digest of expert runs. Their metrics hold the sha256 of every checkpoint."""
    content = [[run.epoch, asdict(run.about), run.metrics()] for run in runs]
    return sha256_of_text(canonical_json(content))
