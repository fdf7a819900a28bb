"""Running a command from files to files, as the command line, `sweep` and `demo` do."""

import inspect
import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ddlabel.commands.adoption import existing_bundle, existing_runs
from ddlabel.commands.command import Command, load_command
from ddlabel.commands.reporter import SILENT, Reporter
from ddlabel.core import interruption
from ddlabel.core.errors import OutputExistsError, UsageError
from ddlabel.core.ranks import RANK
from ddlabel.core.registry import nearest
from ddlabel.core.values import as_option_type, shown
from ddlabel.data import atomic, formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.reading import is_regular, is_standard_output, is_stream
from ddlabel.data.schema import Header


def make_bundle_file(
    command: Command,
    inputs: Mapping[str, Any],
    out: str,
    options: Any,
    *,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Run a command that makes a bundle, and write it whole or not at all.

    An existing output is refused before the work. Under torchrun rank 0 alone writes. A command
    with an input `resume` saves its state in `OUT.resume` until the bundle is written; if a run was
    killed between the two, only the state is removed. Returns what `--json` prints: the path,
    the digest and the shapes.

    Raises:
        OutputExistsError: The output is there before the work or after it, and `force` is not set.
        StorageError: The output cannot be written.
    """
    resume = _resume_file(command, out)
    if resume is not None and resume.exists() and not force:
        existing = existing_bundle(command, inputs, options, out)
        if existing is not None:
            reporter.note(f"{out}: an earlier run has written it; its state {resume} is removed")
            resume.unlink()
            return _written_value(out, existing[1])
    _check_not_forgotten(out)
    formats.format_of(out)
    atomic.check_output(out, force=force)
    if not command.makes_bundle:
        raise UsageError(f"{command.name} makes no bundle: leave out the output")
    if resume is not None:
        inputs = {"resume": resume, **inputs}
    with interruption.outlook(lambda: _outlook(resume, out, force=force)):
        bundle = command.run(inputs, options, reporter)
        if RANK:
            return {}
        header = _write(out, bundle, resume, force=force)
    return _written_value(out, header)


def _check_not_forgotten(out: str) -> None:
    """Refuse the last input in place of the output.

    Raises:
        UsageError: It is there and is no bundle.
    """
    path = Path(out)
    if is_standard_output(out) or path.suffix.lower() in formats.FORMATS:
        return
    if path.is_file() or path.is_dir():
        raise UsageError(
            f"OUT is missing: {out}, which stands in its place, is there and is no bundle: name "
            f"the bundle to write, such as {path.stem}.safetensors, at the end"
        )


def _write(out: str, bundle: Bundle, resume: Path | None, *, force: bool) -> Header:
    """Write a bundle, and remove the state to resume from, which nobody needs then.

    Raises:
        OutputExistsError: Another process has written the output meanwhile.
        StorageError: The output cannot be written. The state stays.
    """
    if resume is None:
        return formats.write(out, bundle, force=force)
    # A signal waits until both are done: what is finished leaves no state behind.
    with interruption.deferred():
        try:
            header = formats.write(out, bundle, force=force)
        except OutputExistsError:
            resume.unlink(missing_ok=True)
            raise
        resume.unlink(missing_ok=True)
    return header


def _outlook(resume: Path | None, out: str, *, force: bool) -> str | None:
    """Return what the same command does if this one ends now: see `interruption.outlook`."""
    is_written = is_regular(out) and not force
    if resume is None or is_written or not resume.exists():
        return None
    return interruption.goes_on_from(f"the state in {resume}")


def _written_value(out: str, header: Header) -> dict[str, Any]:
    """Return what `--json` prints of a bundle that was written."""
    return {"out": out, "digest": header.digest, "shapes": shapes_of(header)}


def _resume_file(command: Command, out: str) -> Path | None:
    """Return the file of the state of an unfinished run.

    None if the command saves none, or if the output is a stream.
    """
    if "resume" not in command.inputs:
        return None
    is_file = not is_standard_output(out) and not is_stream(Path(out))
    return Path(f"{out}.resume") if is_file else None


@dataclass(frozen=True, kw_only=True)
class Call:
    """A command with its inputs and options, checked and ready to run.

    Attributes:
        command: The command.
        inputs: Its inputs by name.
        options: Its config; a list of configs if the command has axes.
        out: The file of the bundle that it makes; None if it makes no bundle.
        force: Whether to replace an existing `out`.
    """

    command: Command
    inputs: dict[str, Any]
    options: Any
    out: str | None
    force: bool

    def run(self, reporter: Reporter = SILENT) -> Any:
        """Run the command and return the value that `--json` prints."""
        if self.out is None:
            result = self.command.run(self.inputs, self.options, reporter)
            return self.command.json_value(result)
        return make_bundle_file(
            self.command,
            self.inputs,
            self.out,
            self.options,
            force=self.force,
            reporter=reporter,
        )

    def adopt(self) -> Any:
        """Return what `run` would, without running, if its output is there already.

        The output must be what the command would make: see `adoption`. None if it is not, or if it
        is to be replaced.
        """
        if self.force:
            return None
        if self.command.name == "train-expert":
            runs = existing_runs(self.inputs, self.options)
            return None if runs is None else self.command.json_value(runs)
        if self.out is None:
            return None
        existing = existing_bundle(self.command, self.inputs, self.options, self.out)
        if existing is None:
            return None
        resume = _resume_file(self.command, self.out)
        if resume is not None:
            resume.unlink(missing_ok=True)
        return _written_value(self.out, existing[1])


def run_command(name: str, given: Mapping[str, Any], reporter: Reporter = SILENT) -> Any:
    """Run a command with its inputs and options by name, and return what `--json` prints.

    Raises:
        DDLabelError: What `prepare_call` or the command raises.
    """
    return prepare_call(name, given).run(reporter)


def prepare_call(name: str, given: Mapping[str, Any]) -> Call:
    """Check the inputs and options of a command, given together by name, without running it.

    `given` may have `config`, a TOML file, and for a command that makes a bundle it has `out`, and
    may have `force`.

    Raises:
        UsageError: There is no such command; a name is unknown; an input is missing; an option has
            a wrong value or does not go with others.
        InvalidInputError: The file `config` cannot be read.
    """
    command = load_command(name)
    option_names = [field.name for field in fields(command.config)]
    _check_names(command, option_names, given)
    inputs = {
        key: _input_value(given[key], parameter, f"{key} of {name}")
        for key, parameter in command.inputs.items()
        if key in given
    }
    options = {key: given[key] for key in option_names if key in given}
    return Call(
        command=command,
        inputs=inputs,
        options=command.options(options, given.get("config")),
        out=str(given["out"]) if command.makes_bundle else None,
        force=as_option_type(given.get("force", False), bool, f"force of {name}", is_list=False),
    )


def _check_names(command: Command, option_names: list[str], given: Mapping[str, Any]) -> None:
    """Check that all names are known and that no input is missing.

    Raises:
        UsageError: A name is unknown, or an input is missing.
    """
    required = [
        key
        for key, parameter in command.inputs.items()
        if parameter.default is inspect.Parameter.empty
    ]
    known = [*command.inputs, *option_names, "config"]
    if command.makes_bundle:
        required.append("out")
        known += ["out", "force"]
    for key in given:
        if key not in known:
            raise UsageError(f"{command.name} has no option {key!r}: {nearest(key, known)}")
    for key in required:
        if key not in given:
            raise UsageError(f"{command.name} needs {key!r}: add it")


def _input_value(value: Any, parameter: inspect.Parameter, where: str) -> Any:
    """Return the value of an input, with paths and numbers as text.

    Raises:
        UsageError: It is a list, and the input takes one value.
    """
    if not isinstance(value, list | tuple):
        is_plain = isinstance(value, str | os.PathLike | int | float)
        return str(value) if is_plain else value
    if not _takes_list(parameter.annotation):
        raise UsageError(f"{where} is {shown(value)}: expected one value, not a list")
    return [_input_value(part, parameter, where) for part in value]


def _takes_list(annotation: Any) -> bool:
    """Return whether a list is one of the types that an annotation allows."""
    types = (annotation, *typing.get_args(annotation))
    return any(typing.get_origin(kind) is list for kind in types)


def shapes_of(header: Header) -> dict[str, list[int]]:
    """Return the shape of every array of a bundle."""
    return {name: list(info.shape) for name, info in header.arrays.items()}
