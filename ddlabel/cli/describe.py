"""`ddlabel describe`."""

from collections.abc import Sequence
from typing import Any

from ddlabel.cli.command import BundleArgument, cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command
from ddlabel.core.config import DescribeOptions
from ddlabel.core.text import epoch_text, printable

# A table of more classes would not fit a terminal.
_MOST_CLASSES_SHOWN = 12


@cli_command("describe", DescribeOptions)
def describe(
    bundle: BundleArgument, *, options: DescribeOptions, reporter: TerminalReporter
) -> None:
    """Show figures of labels, and compare them with other labels or with those of experts.

    Example: ddlabel describe soft.safetensors --against other.safetensors
    """
    from ddlabel.commands.inputs import check_one_standard_input, open_bundle

    check_one_standard_input([bundle, options.against])
    source = open_bundle(bundle).bundle
    command = load_command("describe")
    figures = command.run({"bundle": source}, options, reporter)
    is_small = source.num_classes <= _MOST_CLASSES_SHOWN
    if is_small and "class_similarity" in figures:
        reporter.show(_similarity_table(source.classes, figures["class_similarity"]))
    reporter.result(_lines(figures), command.json_value(figures))


def _lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures of labels as lines."""
    from ddlabel.commands.hard_labels import DERIVED
    from ddlabel.commands.label_report import figures_line

    line = figures_line(accuracy=figures["accuracy"], entropy_nats=figures["entropy_nats"])
    lines = [f"labels       {line}"]
    if figures["hard_labels_are_derived"]:
        lines.append(f"hard labels  {DERIVED}: that labels agree with them says nothing")
    if "confidence" in figures:
        effective = f"{figures['effective_classes']:.2f} classes (mean exp of the entropy)"
        lines.append(
            f"confidence   {figures['confidence']:.3f} (mean largest probability), {effective}"
        )
    size = figures["size"]
    share = f"{100 * size['share']:.2f} % of its pixels"
    lines.append(f"size         {size['bytes']:,.0f} bytes an image, {share}")
    if "against" in figures:
        lines.append(_comparison_line(figures["against"]))
    if "experts" in figures:
        lines += _expert_lines(figures["experts"])
    if "against" in figures or "experts" in figures:
        lines.append(
            "distance     Jensen-Shannon distance: the root of the divergence in nats, at most "
            "0.833"
        )
    return lines


def _comparison_line(comparison: dict[str, Any]) -> str:
    same = f"{100 * comparison['same_class']:.1f} % have the same largest entry"
    distance = f"distance {comparison['js_distance']:.4f}"
    forward, reverse = (_nats(comparison[name]) for name in ("kl", "kl_reverse"))
    return f"against      {same}, {distance}, KL {forward} nats to it and {reverse} nats from it"


def _nats(divergence: float | None) -> str:
    return "infinite" if divergence is None else f"{divergence:.4f}"


def _expert_lines(experts: dict[str, Any]) -> list[str]:
    lines = []
    columns = (experts["epoch"], experts["js_distance"], experts["normalised"])
    for epoch, distance, normalised in zip(*columns, strict=True):
        lines.append(f"epoch {epoch:<9.4g}distance {distance:.4f}, normalised {normalised:.3f}")
    lines.append(f"nearest      epoch {epoch_text(experts['nearest'])}")
    return lines


def _similarity_table(classes: Sequence[str], rows: list[list[float] | None]) -> Any:
    """Return the mean label of each predicted class as a table.

    The diagonal, which is much larger than the rest, is left out.
    """
    from rich.markup import escape
    from rich.table import Table

    names = [escape(printable(name)) for name in classes]
    table = Table("predicted", *names, title="mean probability of other classes")
    for number, row in enumerate(rows):
        cells = ["–"] * len(names)
        if row is not None:
            cells = [f"{probability:.3f}" for probability in row]
            cells[number] = "–"
        table.add_row(names[number], *cells)
    return table
