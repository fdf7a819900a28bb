"""The experiments of an evaluation: its inputs are read, and everything is settled and checked."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ddlabel.commands.checkpoints import pick_and_report, source_of
from ddlabel.commands.digits import load_digits
from ddlabel.commands.evaluate.against import against_experiments
from ddlabel.commands.evaluate.controls import control_experiments
from ddlabel.commands.evaluate.experiment import Experiment, settle
from ddlabel.commands.evaluate.presets import Completed, complete
from ddlabel.commands.evaluate.stored_labels import labelers_of
from ddlabel.commands.evaluate.training_plan import Whitening
from ddlabel.commands.inputs import (
    OpenBundle,
    check_one_standard_input,
    expert_inputs,
    open_bundle,
    open_experts,
)
from ddlabel.commands.refine import REFINED
from ddlabel.commands.reporter import Reporter
from ddlabel.core.config import EvaluateOptions
from ddlabel.core.errors import UsageError
from ddlabel.data import whitening
from ddlabel.data.bundle import Bundle, check_same_task
from ddlabel.data.expert_run import Checkpoints
from ddlabel.data.likeness import equal_images
from ddlabel.training.cost import Cost


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settled experiments of an evaluation.

    Attributes:
        cells: One experiment for each combination of the options' values.
        against: For each of them, the same on the labels of `against`; empty without.
        controls: For each of them, its controls; empty without.
    """

    cells: Sequence[Experiment]
    against: Sequence[Experiment] = ()
    controls: Sequence[Sequence[Experiment]] = field(default=())

    @property
    def experiments(self) -> list[Experiment]:
        """All experiments."""
        of_controls = [experiment for controls in self.controls for experiment in controls]
        return [*self.cells, *self.against, *of_controls]

    def training_cost(self) -> Cost | None:
        """Count the cost of all trainings.

        None if they are not known before: with `continual` and `select=val` students learn from a
        part of the bundle that is drawn for each seed.
        """
        options = self.cells[0].options
        if options.continual is not None or options.select == "val":
            return None
        total = Cost()
        for experiment in self.experiments:
            # Every seed has as many images of the same size.
            bundle = experiment.bundle_for(experiment.options.seed)
            total += experiment.training_cost(bundle) * len(experiment.seeds)
        return total


def plan_experiments(grid: Sequence[EvaluateOptions], reporter: Reporter) -> Plan:
    """Read the inputs and return the settled experiments of a grid.

    Raises:
        UsageError: Options do not go together, or a spec cannot be resolved.
        InvalidInputError: An input cannot be read.
        IncompatibleError: Inputs are of different tasks, or the labels do not fit the options.
    """
    options = grid[0]
    check_one_standard_input(
        [options.bundle, options.test, options.against, options.real, options.zca_from]
    )
    train, test = _open_inputs(options, reporter)
    runs = open_experts(options.teacher, reporter)
    digests = {"bundle": train.digest, "test": test.digest}
    origins = {"bundle": train.origin, "test": test.origin}
    white: Whitening | None = None
    if options.zca_from is not None:
        fitted_on = _open_same_task("--zca-from", options.zca_from, train.bundle)
        white = whitening.fit(fitted_on.bundle.images)
        digests["zca"] = fitted_on.digest
        origins["zca"] = fitted_on.origin
    teacher = pick_and_report(train.bundle, runs, options.teacher_epoch, reporter)
    origins |= _origin_of_teacher(teacher)
    completed = complete(grid, train.bundle, runs)
    experiment = Experiment.of(
        train.bundle,
        test=test.bundle,
        options=options,
        digests=digests,
        origins=origins,
        teacher=teacher,
        whitening=white,
    )
    cells = _settle_grid(experiment, completed)
    _check_teacher_is_used(options, cells, has_teacher=bool(runs))
    against: Sequence[Experiment] = ()
    if options.against is not None:
        other = _open_same_task("--against", options.against, train.bundle)
        against = against_experiments(experiment, other, completed)
    _report_doubts([*cells, *against], reporter)
    controls: Sequence[Sequence[Experiment]] = ()
    if options.real is not None:
        _report_other_teacher(cells[0], teacher, reporter)
        controls = _plan_controls(cells, open_bundle(options.real))
    return Plan(cells=cells, against=against, controls=controls)


def _origin_of_teacher(teacher: Checkpoints) -> dict[str, dict[str, Any]]:
    """Return the names of the teacher's experts for records; nothing without a teacher."""
    if not teacher:
        return {}
    return {"teacher": {"name": " + ".join(each.name for each in expert_inputs(teacher))}}


def _open_inputs(options: EvaluateOptions, reporter: Reporter) -> tuple[OpenBundle, OpenBundle]:
    """Open the bundle and the test set; without either handwritten digits."""
    if options.bundle is None and options.test is None:
        reporter.note(
            "no bundle and no test set given: 10 handwritten digits of each class, hard labels"
        )
        few, test = load_digits()
        return open_bundle(few), open_bundle(test)
    # EvaluateOptions refuses one without the other.
    assert options.bundle is not None
    assert options.test is not None
    return open_bundle(options.bundle), open_bundle(options.test)


def _open_same_task(flag: str, value: Any, bundle: Bundle) -> OpenBundle:
    """Open the bundle of an option, which must be of the same task as the evaluated one."""
    other = open_bundle(value)
    name = flag if isinstance(value, Bundle) else f"{flag} {value}"
    check_same_task(name, bundle, other.bundle)
    return other


def _settle_grid(experiment: Experiment, grid: Sequence[Completed]) -> list[Experiment]:
    return [settle(replace(experiment, options=options, preset=preset)) for options, preset in grid]


def _plan_controls(cells: Sequence[Experiment], real: OpenBundle) -> list[list[Experiment]]:
    controls = []
    for experiment in cells:
        for_scores = experiment.options.control == "scores"
        controls.append(control_experiments(experiment, real, for_scores=for_scores))
    return controls


def _check_teacher_is_used(
    options: EvaluateOptions, cells: Sequence[Experiment], *, has_teacher: bool
) -> None:
    is_online = any(experiment.options.labels == "online" for experiment in cells)
    if has_teacher and not is_online and options.control == "none":
        raise UsageError(
            f"--teacher is for online labels and these are {cells[0].options.labels}: "
            "use --labels online"
        )


def _report_doubts(cells: Sequence[Experiment], reporter: Reporter) -> None:
    """Report what may mislead."""
    for experiment in cells:
        options = experiment.options
        if options.loss == "ce" and options.labels in ("soft", "online"):
            reporter.note("note: the loss ce learns from the hard labels alone")
            break
    if _refines_again(cells):
        reporter.note(
            "note: the labels are refined already and the loss gift refines them once more: use "
            "--loss cosine"
        )
    digests = cells[0].digests
    if digests["bundle"] == digests["test"]:
        reporter.warn("warning: the test images are the training images")
    else:
        _report_shared_images(cells[0], reporter)


def _report_shared_images(experiment: Experiment, reporter: Reporter) -> None:
    """Warn of test images among the training images, which are equal as bytes."""
    bundle = experiment.bundle_for(experiment.options.seed)
    shared = list(equal_images(bundle.images, experiment.test.images))
    if shared:
        row, other = shared[0]
        reporter.warn(
            f"warning: {len({row for row, _ in shared})} images are test images (number {row} is "
            f"number {other} of the test set): 'ddlabel doctor BUNDLE --test TEST' names them"
        )


def _refines_again(cells: Sequence[Experiment]) -> bool:
    """Return whether a cell has the loss gift on stored labels that `refine` has made."""
    for experiment in cells:
        options = experiment.options
        is_gift = options.loss.partition(":")[0] == "gift"
        if is_gift and options.labels in ("soft", "dense"):
            bundle = experiment.bundle_for(options.seed)
            if REFINED in bundle.labels(options.labels).meta.source:
                return True
    return False


def _report_other_teacher(experiment: Experiment, teacher: Checkpoints, reporter: Reporter) -> None:
    """Report if random images are labelled by other experts than the bundle's images.

    Only a bundle whose history does not tell its experts can have others.
    """
    bundle = experiment.bundle_for(experiment.options.seed)
    for labeler in labelers_of(experiment.options, bundle, teacher):
        made_by = bundle.labels(labeler.field).meta.source
        source = source_of(labeler.experts)
        if made_by != source:
            reporter.note(
                f"note: {labeler.field} labels from {made_by or 'unknown experts'}, those of "
                f"random images from {source}"
            )
