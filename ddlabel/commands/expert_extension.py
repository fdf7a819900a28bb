"""Going on with a finished expert run to more epochs: where the bytes are those of a fresh run."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ddlabel.commands.expert_plan import (
    PlannedRun,
    RealImages,
    checkpoint_steps,
    lr_factor_of,
    passes_of,
)
from ddlabel.commands.expert_state import Needed, kept_step
from ddlabel.core.config import TrainExpertOptions
from ddlabel.core.errors import IncompatibleError
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertInfo, ExpertRun
from ddlabel.data.run_files import INFO, METRICS, OPTIMIZER
from ddlabel.data.schema import require
from ddlabel.methods.optimizers import keeps_state
from ddlabel.training.environment import environment
from ddlabel.training.labeler import network_of
from ddlabel.training.runtime import Runtime, Work


def needed_to_go_on(options: TrainExpertOptions, runtime: Runtime) -> Needed:
    """Return what training goes on from after a checkpoint, beside the weights.

    An optimizer with momentum goes on from its running means, which a finished run keeps. fp16 goes
    on from its scale of the loss too, which no file has.
    """
    if runtime.precision == "fp16":
        return "more than is kept"
    return "the optimizer" if keeps_state(options.optimizer) else "nothing"


def shorter_run(plan: PlannedRun) -> ExpertRun | None:
    """Return the finished run of fewer epochs in the folder of a plan, or None."""
    if not (plan.folder / INFO).exists():
        return None
    run = ExpertRun(plan.folder)
    return None if run.about.digest == plan.info.digest else run


def check_extension(
    plan: PlannedRun, real: RealImages, options: TrainExpertOptions, test: Bundle | None
) -> None:
    """Check that the run in a folder, if it has fewer epochs, is the beginning of the planned one.

    Raises:
        IncompatibleError: A fresh run of these epochs would have other bytes.
        InvalidInputError: The records or the last checkpoint are damaged or missing.
        ResourceError: The device is not there.
    """
    run = shorter_run(plan)
    if run is None:
        return
    records = run.saved_metrics()
    before = replace(options, epochs=run.about.options["epochs"])
    steps = checkpoint_steps(run.about, options.save_every)
    is_whole = [record["step"] for record in records] == steps
    require(is_whole, f"{run.folder / METRICS}: records are missing: train the run anew")
    run.recorded_weights(records[-1])
    runtime = Runtime.of(options)
    body = network_of(plan.info).body
    works = [
        runtime.work(body, **passes_of(real, info, options)) for info in (run.about, plan.info)
    ]
    reasons = [
        *_of_schedule(run.about, before, plan.info, options),
        *_of_state(run, options, runtime),
        *_of_checkpoints(steps, plan.info, options),
        *_of_tests(records, test),
        *_of_compilation(*works),
        *_of_environment(records[-1], runtime, works[1]),
    ]
    if reasons:
        raise IncompatibleError(
            f"{run.folder}: its {before.epochs} epochs cannot go on to {options.epochs} as one "
            f"run: {reasons[0]}"
        )


def _of_schedule(
    info: ExpertInfo, options: TrainExpertOptions, new_info: ExpertInfo, new: TrainExpertOptions
) -> Iterator[str]:
    """Give the reason if a step that is done would have another learning rate now."""
    factor = lr_factor_of(options, info)
    new_factor = lr_factor_of(new, new_info)
    for step in range(info.steps):
        if factor(step) != new_factor(step):
            epoch = step // info.steps_per_epoch + 1
            yield (
                f"the learning rate of epoch {epoch} depends on --epochs (--schedule "
                f"{options.schedule}); give another folder"
            )
            return


def _of_state(run: ExpertRun, options: TrainExpertOptions, runtime: Runtime) -> Iterator[str]:
    """Give the reason if the run lacks what training goes on from.

    Raises:
        InvalidInputError: The state of the optimizer is damaged.
    """
    needed = needed_to_go_on(options, runtime)
    if needed == "more than is kept":
        yield (
            "--precision fp16 has a scale of the loss that is not kept when a run is finished; "
            "give another folder"
        )
    elif needed == "the optimizer" and kept_step(run) != run.about.steps:
        yield (
            f"--optimizer has a state, and {run.folder / OPTIMIZER}, which keeps it, is not there "
            "or is of another run; give another folder (SGD without momentum has none)"
        )


def _of_checkpoints(
    steps: list[int], info: ExpertInfo, options: TrainExpertOptions
) -> Iterator[str]:
    """Give the reason if the run has a checkpoint that a longer one would not have."""
    if steps[-1] not in checkpoint_steps(info, options.save_every):
        epoch = steps[-1] / info.steps_per_epoch
        yield (
            f"--save-every {options.save_every:g} has no checkpoint at epoch {epoch:g} but as the "
            "last one; give another folder"
        )


def _of_tests(records: list[dict[str, Any]], test: Bundle | None) -> Iterator[str]:
    """Give the reason if the accuracies that are recorded are of other test images."""
    digest = None if test is None else test.digest
    if any(record.get("test") != digest for record in records):
        yield "its accuracies are of other test images, or of none; give the same --test"


def _of_compilation(before: Work, now: Work) -> Iterator[str]:
    """Give the reason if `--compile auto` weighs the longer run otherwise."""
    if (before.compiles, before.compiles_last) != (now.compiles, now.compiles_last):
        yield "more of a run of this length is compiled than of the shorter one; give --compile off"


def _of_environment(record: dict[str, Any], runtime: Runtime, work: Work) -> Iterator[str]:
    """Give the reason if the first epochs were trained in another environment or precision."""
    now = environment(runtime.device) | {"precision": work.precision}
    recorded = record.get("environment")
    before = recorded if isinstance(recorded, dict) else {}
    different = [name for name, value in now.items() if before.get(name) != value]
    if different:
        yield (
            f"it was trained with other {', '.join(different)}, as metrics.jsonl shows; go on with "
            "the same, or give another folder"
        )
