"""`refine`: GIFT's label refinement."""

from dataclasses import replace

from ddlabel.commands.command import Made, command
from ddlabel.commands.hard_labels import warn_of_derived
from ddlabel.commands.inputs import BundleLike, check_one_standard_input, open_bundle
from ddlabel.commands.label_report import report_change
from ddlabel.commands.reporter import Reporter
from ddlabel.core.config import RefineOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import Input
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.blocks import map_labels
from ddlabel.methods.labels.gift import gift
from ddlabel.methods.labels.target import Target

# In the source of refined labels.
REFINED = " refined at "


@command("refine", RefineOptions)
def refine(bundle: BundleLike, *, options: RefineOptions, reporter: Reporter) -> Made:
    """Mix the smoothed hard label into soft or dense labels (GIFT, section 4).

    Returns the bundle with γ·smooth/‖smooth‖₂ + (1 − γ)·soft/‖soft‖₂ as its labels.

    Raises:
        UsageError: An option is out of its range.
        IncompatibleError: There are no such labels, or they cannot be refined in that space.
    """
    check_one_standard_input([bundle, options.real])
    opened = open_bundle(bundle)
    warn_of_derived(opened.bundle, reporter, meaning="refining with them corrects no label")
    settled = options
    inputs: list[Input] = []
    if options.real is not None:
        # Trials train students: importing them here keeps plain refinement quick to start.
        from ddlabel.commands.relabel import report_trials
        from ddlabel.commands.trial import choose_gamma

        real = open_bundle(options.real)
        inputs.append(real.as_input("real"))
        settled, trials = choose_gamma(opened.bundle, options, real.bundle, reporter.progress)
        report_trials(trials, f"gamma {settled.gamma}", reporter)
    refined = refine_labels(opened.bundle, settled)
    report_change(opened.bundle, refined, options.field, reporter)
    if options.field == "soft" and opened.bundle.dense is not None:
        reporter.note("note: the dense labels are not refined: use --field dense for them")
    return Made(bundle=refined, source=opened.digest, inputs=inputs, settled=settled)


def refine_labels(bundle: Bundle, options: RefineOptions) -> Bundle:
    """Mix the smoothed hard label into soft labels, or into the dense label of every view.

    For a blended view the hard label is that of both images by their shares.

    Raises:
        IncompatibleError: There are no such labels, or they cannot be refined in that space.
    """
    gamma = options.gamma
    if isinstance(gamma, str):
        raise UsageError(
            "--gamma auto is chosen on real images: name them with --real, or give a number"
        )
    if REFINED in bundle.labels(options.field).meta.source:
        raise IncompatibleError(
            "the labels are refined already: refine the labels that they were made from"
        )
    meta = LabelMeta(space="direction" if options.space == "logits" else "probs")

    def refine_target(target: Target) -> Target:
        values = gift(
            target.values,
            target.meta,
            target.hard,
            space=options.space,
            gamma=gamma,
            alpha=options.alpha,
            smoothing=options.smoothing,
        )
        if not bool(values.isfinite().all()):
            raise IncompatibleError(
                "a label has no probability left and --gamma is 0: give a larger one"
            )
        return replace(target, values=values, meta=meta)

    return map_labels(bundle, options.field, refine_target, how=f"{REFINED.strip()} {gamma:g}")
