"""Completion of values on the command line: names in specs, choices, epochs of a run."""

from collections.abc import Callable, Iterable
from dataclasses import Field
from pathlib import Path
from typing import Any

Completer = Callable[[Any, str], list[str]]
# The registry whose names begin the value of an option.
KIND_OF_OPTION = {
    "loss": "losses",
    "dense_loss": "losses",
    "net": "nets",
    "trial_net": "nets",
    "optimizer": "optimizers",
    "inner": "optimizers",
    "schedule": "schedules",
    "augment": "augmentations",
    "mix": "mixes",
    "views": "views",
    "op": "edits",
    "codec": "codecs",
    "prune": "prunings",
    "figure": "figures",
    "protocol": "protocols",
}
# `--method` has another meaning for each command.
_KIND_OF_METHOD = {"select": "selectors", "learn": "learners"}
# The option that names the runs whose epochs an option takes.
_RUNS_OF_EPOCH = {"epoch": "expert", "teacher_epoch": "teacher"}


def completer_of(declared: "Field[Any]") -> Completer | None:
    """Return the function that completes the value of an option; None for paths and numbers."""
    choices = declared.metadata["choices"]
    if choices:
        return _choices_completer(choices)
    if declared.name in KIND_OF_OPTION or declared.name == "method":
        return _names_completer(declared.name)
    if declared.name in _RUNS_OF_EPOCH:
        return _epochs_completer(_RUNS_OF_EPOCH[declared.name])
    return _complete_classes if declared.name == "without_class" else None


def _beginning_with(typed: str, values: Iterable[str]) -> list[str]:
    return [value for value in values if value.startswith(typed)]


def _choices_completer(choices: tuple[str, ...]) -> Completer:
    def complete(ctx: Any, incomplete: str) -> list[str]:  # noqa: ARG001
        return _beginning_with(incomplete, choices)

    return complete


def _names_completer(option: str) -> Completer:
    def complete(ctx: Any, incomplete: str) -> list[str]:
        from ddlabel.commands.guide import names_in_specs

        kind = KIND_OF_OPTION.get(option) or _KIND_OF_METHOD[ctx.info_name]
        if kind == "protocols":
            from ddlabel.core import protocols

            return _beginning_with(incomplete, protocols.names())
        # The last of several values separated by commas, or of several joined by +.
        before = incomplete[: max(incomplete.rfind(mark) for mark in ",+") + 1]
        names = names_in_specs(kind)
        return [before + name for name in _beginning_with(incomplete[len(before) :], names)]

    return complete


def _epochs_completer(runs_option: str) -> Completer:
    """Complete the epochs of the first run that stands before on the command line."""

    def complete(ctx: Any, incomplete: str) -> list[str]:
        from ddlabel.core.errors import DDLabelError
        from ddlabel.data.expert_run import ExpertRun

        epochs = []
        folders = ctx.params.get(runs_option) or []
        try:
            for folder in folders[:1]:
                records = ExpertRun(Path(folder)).metrics()
                epochs = [f"{record['epoch']:g}" for record in records]
        except (DDLabelError, OSError):
            pass  # The command itself says what is wrong with a run.
        return _beginning_with(incomplete, [*epochs, "auto", "last"])

    return complete


def _complete_classes(ctx: Any, incomplete: str) -> list[str]:
    """Complete the classes of the bundle that stands before on the command line."""
    from ddlabel.core.errors import DDLabelError
    from ddlabel.data import formats

    # Typer has not yet given the arguments their names while an option has no value.
    bundle = next(iter(ctx.args), "")
    try:
        classes = formats.read_header(bundle).classes
    except (DDLabelError, OSError):
        return []  # The command itself says what is wrong with the bundle.
    return _beginning_with(incomplete, classes)
