"""`select`: a few images of each class."""

import inspect
from collections.abc import Callable
from dataclasses import replace

from ddlabel.commands.checkpoints import pick_and_report
from ddlabel.commands.command import Made, command
from ddlabel.commands.inputs import BundleLike, expert_inputs, open_bundle, open_experts
from ddlabel.commands.reporter import Reporter
from ddlabel.commands.selectors import factor_of, selectors
from ddlabel.core.config import SelectOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import Checkpoints
from ddlabel.data.provenance import FACTOR
from ddlabel.training.labeler import Labeler
from ddlabel.training.runtime import Runtime


@command("select", SelectOptions)
def select(bundle: BundleLike, *, options: SelectOptions, reporter: Reporter) -> Made:
    """Choose images of each class, at random or with the help of experts.

    Returns a bundle of `ipc` images of every class, sorted by class.

    Raises:
        UsageError: A class has fewer images, or the method needs an expert and there is none.
        IncompatibleError: An expert has other classes than the bundle, or takes other images.
        InvalidInputError: An input cannot be read, or a run has no such checkpoint.
    """
    runs = open_experts(options.expert, reporter)
    opened = open_bundle(bundle)
    checkpoints = pick_and_report(opened.bundle, runs, options.epoch, reporter, ipc=options.ipc)
    selected = select_images(opened.bundle, options, checkpoints)
    num_classes = selected.num_classes
    reporter.note(f"{len(selected)} images, {options.ipc} of each of {num_classes} classes")
    factor = factor_of(options.method, selected.side)
    return Made(
        bundle=selected,
        source=opened.digest,
        inputs=expert_inputs(checkpoints),
        # The names of the experts have their epochs.
        settled=replace(options, epoch=SelectOptions().epoch),
        facts=None if factor is None else {FACTOR: factor},
    )


def select_images(bundle: Bundle, options: SelectOptions, checkpoints: Checkpoints = ()) -> Bundle:
    """Choose `ipc` images of every class, sorted by class, by the method of the options.

    Raises:
        UsageError: A class has fewer images, or the method needs experts and there are none, or
            the reverse.
    """
    selector: Callable[..., Bundle] = selectors.resolve(options.method)
    needs_experts = "experts" in inspect.signature(selector).parameters
    if needs_experts and not checkpoints:
        raise UsageError(f"--method {options.method} needs an expert: name its run with --expert")
    if checkpoints and not needs_experts:
        raise UsageError(
            f"--method {options.method} uses no expert: leave out --expert and --epoch"
        )
    options.check_together(objects=("expert",) if checkpoints else ())
    if not needs_experts:
        return selector(bundle, options)
    # Which images are chosen does not depend on the kind of machine.
    precision = "fp32" if options.precision == "auto" else options.precision
    runtime = Runtime.of(replace(options, precision=precision))
    return selector(bundle, options, experts=Labeler(checkpoints, runtime, num_images=len(bundle)))
