"""`relabel`, `densify` and `refine`: bundle in, bundle with better labels out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import typer

from ddlabel.bundle import Bundle
from ddlabel.cli.command import BundleIn, BundleOut, ExpertRuns, Force, Say, command, figures_line, run_filter
from ddlabel.config import DensifyOptions, RefineOptions, RelabelOptions
from ddlabel.errors import UsageError
from ddlabel.expert import Run, share_of_best
from ddlabel.provenance import Input


def register(app: typer.Typer) -> None:
    """Add `relabel`, `densify` and `refine`."""

    @command(app, "relabel", RelabelOptions)
    def relabel(
        bundle: BundleIn, out: BundleOut, expert: ExpertRuns, options: RelabelOptions, say: Say, force: Force = False
    ) -> None:
        """Give every image the soft label of an expert, an early-stopped one, or an ensemble."""
        from ddlabel.steps.relabel import relabel as step

        _label("relabel", bundle, out, expert, options, say, step, force=force)

    @command(app, "densify", DensifyOptions)
    def densify(
        bundle: BundleIn, out: BundleOut, expert: ExpertRuns, options: DensifyOptions, say: Say, force: Force = False
    ) -> None:
        """Give N × N overlapping views of every image a label each (LADD)."""
        from ddlabel.steps.relabel import densify as step

        _label("densify", bundle, out, expert, options, say, step, force=force)

    @command(app, "refine", RefineOptions)
    def refine(bundle: BundleIn, out: BundleOut, options: RefineOptions, say: Say, force: Force = False) -> None:
        """Mix the smoothed hard label into soft or dense labels (GIFT)."""
        from ddlabel.steps.refine import refine as step

        before: list[Bundle] = []

        def run(source: Bundle) -> Bundle:
            before.append(source)
            return step(source, options)

        after = run_filter("refine", bundle, out, options, run, say, force=force)
        say.note(f"before: {_figures(before[0], options.field)}\nafter:  {_figures(after, options.field)}")


def _label(
    name: str,
    bundle: str,
    out: str,
    expert: Sequence[str],
    options: RelabelOptions,
    say: Say,
    step: Callable[[Bundle, Any, Any], Bundle],
    *,
    force: bool,
) -> None:
    """Find the experts, pick their checkpoints, label, write, and say how good the labels are."""
    from ddlabel.steps.relabel import pick, source_of

    runs = [run for path in expert for run in Run.find(path)]
    if len({each.folder.resolve() for each in runs}) < len(runs):
        raise UsageError("an expert run is named twice, and would count twice: name each once")
    for each in runs:
        if not each.complete:
            done, planned = max(each.epochs.values(), default=0), each.about.steps / each.about.steps_per_epoch
            say.note(f"note: {each.folder} is unfinished: {done:g} of {planned:g} epochs")
    picks: list[tuple[Run, int]] = []

    def run(source: Bundle) -> Bundle:
        picks.extend(pick(source, runs, options.epoch))
        say.note(f"labels by {source_of(picks)}")
        if options.epoch == "auto":
            share = share_of_best(len(source) / len(source.classes))
            say.note(f"auto: the first checkpoint with {100 * share:.0f} % of its run's best training accuracy")
        return step(source, picks, options)

    def inputs() -> list[Input]:
        return [Input(role="expert", name=run.folder.resolve().name, sha256=run.digest(at)) for run, at in picks]

    result = run_filter(name, bundle, out, options, run, say, force=force, inputs=inputs)
    say.note(_figures(result, "dense" if name == "densify" else "soft"))


def _figures(bundle: Bundle, field: str) -> str:
    """Label accuracy and mean entropy in a line."""
    from ddlabel.steps.relabel import label_figures

    return f"{field} labels: {figures_line(*label_figures(bundle, field))}"
