"""`doctor`: what may be wrong with a bundle, how sure that is, and what to do about it.

A check is a function in a module of this folder, registered by a decorator (`case`). Its arguments
say what it needs: `expert` (--expert) and `test` (--test) besides the case.
"""

import inspect
from dataclasses import asdict, dataclass, replace
from typing import Any

from ddlabel.commands.checkpoints import check_images_fit
from ddlabel.commands.command import command
from ddlabel.commands.doctor import (  # noqa: F401 - importing a module registers its checks
    class_order,
    distilled,
    images,
    labels,
    overlap,
    pixels,
)
from ddlabel.commands.doctor.case import (
    CERTAINTIES,
    Case,
    Expert,
    Finding,
    HeldOut,
    checks,
)
from ddlabel.commands.inputs import BundleLike, check_one_standard_input, open_bundle, open_experts
from ddlabel.commands.reporter import Reporter
from ddlabel.core.config import DoctorOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import Checkpoint
from ddlabel.training.labeler import Labeler
from ddlabel.training.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The findings of `doctor`.

    Attributes:
        findings: What may be wrong, in the order of the checks.
        passed: The names of the checks that found nothing.
        left_out: The names of the checks that need an input which was not given, and this input.
    """

    findings: tuple[Finding, ...]
    passed: tuple[str, ...]
    left_out: dict[str, str]

    def value(self) -> dict[str, Any]:
        """Return the diagnosis as JSON."""
        return asdict(self)


@command("doctor", DoctorOptions, json_value=Diagnosis.value)
def doctor(bundle: BundleLike, *, options: DoctorOptions, reporter: Reporter) -> Diagnosis:
    """Look for what is often wrong with a bundle, and say how sure it is and what to do about it.

    With `expert` the images are shown to an expert: whether their classes and their pixels are what
    it knows. With `test` the images are compared with test images. Nothing is changed.

    Raises:
        InvalidInputError: An input cannot be read.
        IncompatibleError: The expert or the test set is for images of another shape, or for another
            number of classes.
        UsageError: `expert` is more than one run.
    """
    check_one_standard_input([bundle, options.test])
    opened = open_bundle(bundle)
    name = opened.name if isinstance(bundle, Bundle) else str(bundle)
    case = Case(bundle=opened.bundle, name=name)
    inputs: dict[str, Any] = {"case": case}
    if options.expert is not None:
        inputs["expert"] = _open_expert(case, options, reporter)
    if options.test is not None:
        inputs["test"] = _open_test(case, options.test)
    return run_checks(inputs, reporter)


def run_checks(inputs: dict[str, Any], reporter: Reporter) -> Diagnosis:
    """Run every check whose arguments are among the inputs `case`, `expert` and `test`."""
    findings: list[Finding] = []
    passed = []
    left_out = {}
    for name, check in reporter.progress(list(checks.items())):
        needed = [*inspect.signature(check).parameters]
        missing = [f"--{each}" for each in needed if each not in inputs]
        if missing:
            left_out[name] = " and ".join(missing)
            continue
        found = check(**{each: inputs[each] for each in needed})
        findings += found
        if not found:
            passed.append(name)
    findings = _one_mend(inputs["case"], findings)
    return Diagnosis(findings=tuple(findings), passed=tuple(passed), left_out=left_out)


def _one_mend(case: Case, findings: list[Finding]) -> list[Finding]:
    """Leave the command lines that write the mended bundle to the surest finding alone.

    Those of another finding start from the bundle as it is: they would undo the first mend.
    """
    mends = [finding for finding in findings if case.is_mended_by(finding)]
    if len(mends) < 2:
        return findings
    first = min(mends, key=lambda finding: CERTAINTIES.index(finding.certainty))
    then = f" (carry out the command of {first.check}, then run doctor on {case.mended})"
    return [
        replace(finding, advice=finding.advice + then, commands=())
        if finding in mends and finding is not first
        else finding
        for finding in findings
    ]


def _open_expert(case: Case, options: DoctorOptions, reporter: Reporter) -> Expert:
    """Open the run of `--expert` at the epoch that it names, or at its last checkpoint."""
    runs = open_experts([options.expert], reporter)
    if len(runs) > 1:
        raise UsageError(f"--expert {options.expert} has {len(runs)} runs: name one of them")
    (run,) = runs
    check_images_fit(case.bundle, run)
    num_classes = len(run.about.classes)
    if num_classes != case.bundle.num_classes:
        raise IncompatibleError(
            f"the bundle has {case.bundle.num_classes} classes and the expert {run.folder} has "
            f"{num_classes}: import the bundle with all names, --class-names {run.folder}"
        )
    checkpoint = Checkpoint(run, run.step_of(run.epoch or "last"))
    runtime = Runtime.of(options)
    labeler = Labeler([checkpoint], runtime, num_images=len(case.rows))
    return Expert(
        run=str(run.folder),
        classes=run.about.classes,
        mean=run.about.mean,
        std=run.about.std,
        label=lambda batch: labeler(batch.to(runtime.device)),
    )


def _open_test(case: Case, name: str) -> HeldOut:
    opened = open_bundle(name)
    shape, expected = opened.bundle.images.shape[1:], case.bundle.images.shape[1:]
    if shape != expected:
        raise IncompatibleError(
            f"the test set has images {list(shape)} (C, H, W): expected {list(expected)}"
        )
    return HeldOut(bundle=opened.bundle, name=str(name))
