"""Whether an existing output is the one that a command would make: a killed run has made it.

A run can be killed after its output was written, and before what follows is done: a record in a
results file, or the removal of the state to resume from.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ddlabel import __version__
from ddlabel.commands.class_lists import CLASS_LISTS
from ddlabel.commands.command import Command
from ddlabel.core.errors import DDLabelError, UsageError
from ddlabel.data import atomic, formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.class_lists import read_class_list
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.provenance import SOURCE, Entry, Input, canonical_json, sha256_of_path
from ddlabel.data.reading import is_regular, is_standard_input
from ddlabel.data.schema import Header

_AUTO = "auto"
_EPOCH = "epoch"
# The options that name files, which every history has among its inputs.
_FILE_OPTIONS = ("real", "expert", "zca_from", "hard_labels")


def existing_bundle(
    command: Command, inputs: Mapping[str, Any], options: Any, out: str
) -> tuple[Bundle, Header] | None:
    """Return the bundle in the file `out` if its history says that this very command made it.

    Command, version, options, and the digests of all inputs must be the same, and the file must be
    undamaged. None if something differs, or if there is no such file. The temporary file that the
    killed run may have left beside the output is removed.
    """
    if not is_regular(out):
        return None
    # What cannot be read is not the output: the command says so.
    with suppress(DDLabelError, OSError):
        bundle, header = formats.load(out)
        last = header.history[-1] if header.history else None
        if last is not None and _is_made_by(last, command, inputs, options):
            atomic.remove_stale_parts(Path(out).resolve())
            return bundle, header
    return None


def existing_runs(inputs: Mapping[str, Any], options: Any) -> list[ExpertRun] | None:
    """Return the expert runs in a folder if they are complete and what `train-expert` would make.

    None if something differs. Accuracies on other test images count as a difference.
    """
    from ddlabel.commands.expert_plan import finished_runs
    from ddlabel.commands.train_expert import open_real_images

    folder = Path(inputs["out"])
    if not folder.is_dir():
        return None
    with suppress(DDLabelError, OSError):
        test = None if options.test is None else _digest_of_bundle(options.test)
        real = open_real_images(inputs["real"], options)
        runs = finished_runs(real, folder, options)
        tests = {record.get("test") for run in runs for record in run.metrics()}
        if runs and tests == {test}:
            return runs
    return None


def _is_made_by(entry: Entry, command: Command, inputs: Mapping[str, Any], options: Any) -> bool:
    """Return whether an entry of a history is that of a command with these inputs and options."""
    is_same_command = entry.command == command.name and entry.version == __version__
    if not is_same_command or not _are_options(entry.options, options.recorded()):
        return False
    bundle = _digest_of_bundle(inputs["bundle"]) if "bundle" in command.inputs else ""
    if entry.bundle != bundle:
        return False
    named = {SOURCE: _as_list(inputs.get("sources", inputs.get("labels")))}
    for option in (*_FILE_OPTIONS, *CLASS_LISTS):
        named[option] = _as_list(getattr(options, option, None))
    of_role: dict[str, list[Input]] = {role: [] for role in named}
    for given in entry.inputs:
        of_role.setdefault(given.role.replace("-", "_"), []).append(given)
    return all(
        _are_inputs(role, of_role[role], named.get(role, []), getattr(options, _EPOCH, _AUTO))
        for role in of_role
    )


def _are_options(settled: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Return whether the options of a history are those given, of which some may be `auto`.

    Epochs are in the names of experts.
    """
    if settled.keys() != given.keys():
        return False
    asked = [name for name in given if given[name] != _AUTO and name != _EPOCH]
    return all(canonical_json(settled[name]) == canonical_json(given[name]) for name in asked)


def _are_inputs(role: str, given: Sequence[Input], values: Sequence[Any], epoch: str) -> bool:
    """Return whether the inputs of a role in a history are the files of these names."""
    candidates = _candidates(role, values, epoch)
    if len(given) != len(candidates):
        return False
    pairs = zip(given, candidates, strict=True)
    return all(recorded.sha256 in digests for recorded, digests in pairs)


def _candidates(role: str, values: Sequence[Any], epoch: str) -> list[set[str]]:
    """Return the digests that each input of a role may have in a history.

    Of an expert it is the digest of a checkpoint (of any, if the command chooses one), or for
    `learn` that of its folder.
    """
    if role == "real":
        return [{_digest_of_bundle(value)} for value in values]
    if role in CLASS_LISTS:
        return [{read_class_list(role, value).digest} for value in values]
    if role != "expert":
        return [{sha256_of_path(Path(value))} for value in values]
    candidates = []
    for value in values:
        for run in [value] if isinstance(value, ExpertRun) else ExpertRun.find(str(value)):
            wanted = run.epoch or epoch
            steps = list(run.epochs) if wanted == _AUTO else [run.step_of(wanted)]
            digests = {run.digest(step) for step in steps}
            candidates.append(digests | {sha256_of_path(run.folder)})
    return candidates


def _digest_of_bundle(value: Any) -> str:
    """Return the digest of a bundle.

    Raises:
        UsageError: It is standard input, which can be read only once.
    """
    if isinstance(value, Bundle):
        return value.digest
    if is_standard_input(value):
        raise UsageError("standard input can be read only once")
    return formats.read_header(str(value)).digest


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
