"""`ddlabel evaluate`."""

from ddlabel.cli.command import cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command
from ddlabel.core.config import EvaluateOptions


@cli_command("evaluate", EvaluateOptions)
def evaluate(*, options: list[EvaluateOptions], reporter: TerminalReporter) -> None:
    """Train students on a bundle's labels and measure them on test images.

    Options that can be repeated, or hold several values separated by commas, make a grid.

    Example: ddlabel evaluate soft.safetensors --test test.safetensors --loss soft-ce,gift
    """
    evaluation = load_command("evaluate").run({}, options, reporter)
    reporter.show(evaluation.table())
    place = f", records in {options[0].out}," if options[0].out else ""
    number = len(evaluation.records)
    reporter.done(f"{number} {'student' if number == 1 else 'students'}{place}")
    reporter.result(evaluation.lines(), evaluation.value())
