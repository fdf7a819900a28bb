"""The commands that make labels: bundles in, bundles with better labels out."""

from collections.abc import Mapping, Sequence
from typing import Any

from ddlabel.cli.command import (
    BundleIn,
    Reporter,
    command,
    figures_line,
    join,
    one_standard_input,
    run_filter,
)
from ddlabel.cli.make import Experts, Force, Out, expert_inputs, runs_of
from ddlabel.core.config import (
    CompressOptions,
    DensifyOptions,
    EditOptions,
    RefineOptions,
    RelabelOptions,
)
from ddlabel.core.errors import UsageError
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.early_stopping import share_of_best
from ddlabel.data.provenance import Input


@command("relabel", RelabelOptions)
def relabel(
    bundle: BundleIn,
    out: Out,
    expert: Experts,
    options: RelabelOptions,
    reporter: Reporter,
    force: Force = False,
) -> None:
    """Give every image the soft label of an expert, an early-stopped one, or an ensemble."""
    _label(bundle, out, expert, options, reporter, force)


@command("densify", DensifyOptions)
def densify(
    bundle: BundleIn,
    out: Out,
    expert: Experts,
    options: DensifyOptions,
    reporter: Reporter,
    force: Force = False,
) -> None:
    """Give views of every image a label each: an overlapping grid (LADD), random boxes, or augmented views (FKD)."""
    _label(bundle, out, expert, options, reporter, force)


@command("refine", RefineOptions)
def refine(
    bundle: BundleIn, out: Out, options: RefineOptions, reporter: Reporter, force: Force = False
) -> None:
    """Mix the smoothed hard label into soft or dense labels (GIFT)."""
    one_standard_input([bundle, options.real or ""])
    inputs: list[Input] = []

    def run(source: Bundle) -> Bundle:
        from ddlabel.commands.refine import refine as step
        from ddlabel.commands.trial import choose_gamma

        settled = options
        if options.real is not None:
            settled, trials = choose_gamma(
                source, options, real_of(options.real, inputs), reporter.bar
            )
            _show(trials, f"gamma {settled.gamma}", reporter)
        refined = step(source, settled)
        reporter.note(
            f"before: {figures_of(source, options.field)}\nafter:  {figures_of(refined, options.field)}"
        )
        return refined

    run_filter("refine", bundle, out, options, run, reporter, force, inputs)


@command("edit", EditOptions)
def edit(
    bundle: BundleIn, out: Out, options: EditOptions, reporter: Reporter, force: Force = False
) -> None:
    """Change labels on purpose, or take out a class's images, to see what in them teaches (Label-Worth, section 4)."""

    def run(source: Bundle) -> Bundle:
        from ddlabel.commands.edit import edit as step

        edited = step(source, options)
        if options.op:
            reporter.note(
                f"before: {figures_of(source, options.field)}\nafter:  {figures_of(edited, options.field)}"
            )
        reporter.note(f"{len(edited)} of {len(source)} images")
        return edited

    run_filter("edit", bundle, out, options, run, reporter, force)


@command("compress", CompressOptions)
def compress(
    bundle: BundleIn, out: Out, options: CompressOptions, reporter: Reporter, force: Force = False
) -> None:
    """Store labels in fewer bytes: by a codec, or within a budget, and of some of the views."""

    def run(source: Bundle) -> Bundle:
        from ddlabel.commands.compress import compress as step

        result, found = step(source, options)
        before, after = found["before"], found["after"]
        reporter.note(
            f"{found['codec']}: {before:,.0f} → {after:,.0f} bytes an image (× {after / before:.2f}), "
            f"{100 * found['share']:.2f} % of its pixels"
        )
        if found["js_distance"] is not None:
            reporter.note(
                f"mean Jensen-Shannon distance {found['js_distance']:.4f}, "
                f"{100 * found['same_class']:.1f} % keep their largest class (of up to 1,000 labels)"
            )
        return result

    run_filter("compress", bundle, out, options, run, reporter, force)


def _label(
    bundle: str,
    out: str,
    expert: Sequence[str],
    options: RelabelOptions,
    reporter: Reporter,
    force: bool,
) -> None:
    """Find the experts, pick their checkpoints, label, write, and say how good the labels are and how large."""
    one_standard_input([bundle, options.real or ""])
    runs = runs_of(expert, reporter)
    if options.epoch != "auto" and all(run.epoch for run in runs):
        raise UsageError(
            "--epoch is for experts without one of their own (RUN@12), and all have one: leave it out"
        )
    inputs: list[Input] = []

    def run(source: Bundle) -> Bundle:
        from ddlabel.commands import relabel as steps
        from ddlabel.commands.trial import choose_epoch
        from ddlabel.methods.labels.views import layouts

        if isinstance(
            options, DensifyOptions
        ):  # a layout that does not fit says so before the trials
            layouts.resolve(options.views)(1, *source.images.shape[2:], 0)
        settled, picks = options, steps.pick(source, runs, options.epoch)
        if options.real is not None:
            picks, settled, trials = choose_epoch(
                source, runs, options, real_of(options.real, inputs), reporter.bar
            )
            _show(
                trials, f"{steps.source_of(picks)}, temperature {settled.temperature:g}", reporter
            )
        elif options.epoch == "auto" and not all(run.epoch for run in runs):
            share = share_of_best(len(source) / len(source.classes))
            reporter.note(
                f"auto: the first checkpoint with {100 * share:.0f} % of its run's best training accuracy"
            )
        inputs.extend(expert_inputs(picks))
        join(
            options,
            lambda: {"bundle": source.header().digest, "experts": [each.sha256 for each in inputs]},
        )
        reporter.note(f"labels by {steps.source_of(picks)}")
        if isinstance(settled, DensifyOptions):
            return steps.densify(source, picks, settled)
        return steps.relabel(source, picks, settled)

    name, field = (
        ("densify", "dense") if isinstance(options, DensifyOptions) else ("relabel", "soft")
    )
    labelled = run_filter(name, bundle, out, options, run, reporter, force, inputs)
    reporter.note(f"{figures_of(labelled, field)}\n{_size(labelled, field)}")


def real_of(path: str, inputs: list[Input]) -> Bundle:
    """The bundle of real images, noted as an input."""
    real, header = formats.load(path)
    inputs.append(Input(role="real", name=path.rpartition("/")[2], sha256=header.digest))
    return real


def _show(trials: Mapping[str, Any], chosen: str, reporter: Reporter) -> None:
    """What quick students made of each choice."""
    for name, found in trials.items():
        reporter.note(
            f"{name}: {100 * found.mean():.1f} % of {len(found)} quick students on held-out real images"
        )
    reporter.note(f"auto: {chosen}")


def figures_of(bundle: Bundle, field: str) -> str:
    """Label accuracy and mean entropy in a line."""
    from ddlabel.methods.labels.blocks import label_figures

    return f"{field} labels: {figures_line(**label_figures(bundle, field))}"


def _size(bundle: Bundle, field: str) -> str:
    """What the labels take, in a line."""
    from ddlabel.methods.labels.blocks import label_bytes

    size = label_bytes(bundle, field)
    return (
        f"{size['bytes']:,.0f} bytes an image, {100 * size['share']:.2f} % of its pixels "
        f"({100 * size['ladd_share']:.2f} % as LADD counts: a zip of one .npy for each image and each label)"
    )
