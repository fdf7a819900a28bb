"""`ddlabel doctor`."""

from typing import TYPE_CHECKING

from ddlabel.cli.command import BundleArgument, cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command
from ddlabel.core.config import DoctorOptions

if TYPE_CHECKING:
    from ddlabel.commands.doctor import Diagnosis


@cli_command("doctor", DoctorOptions)
def doctor(bundle: BundleArgument, *, options: DoctorOptions, reporter: TerminalReporter) -> None:
    """Look for what is often wrong with a bundle, and say what to do about it.

    Example: ddlabel doctor few.safetensors --test test.safetensors
    """
    command = load_command("doctor")
    diagnosis = command.run({"bundle": bundle}, options, reporter)
    reporter.result(_lines(diagnosis), command.json_value(diagnosis))


def _lines(diagnosis: "Diagnosis") -> list[str]:
    """Return the findings as lines, and which checks found nothing or were left out."""
    lines = []
    for finding in diagnosis.findings:
        lines.append(f"{finding.check} ({finding.certainty}): {finding.found}")
        lines.append(f"    {finding.advice}")
        lines += [f"    {line}" for line in finding.commands]
    if diagnosis.passed:
        lines.append(f"nothing found by: {', '.join(diagnosis.passed)}")
    for needed in dict.fromkeys(diagnosis.left_out.values()):
        names = [name for name, each in diagnosis.left_out.items() if each == needed]
        lines.append(f"not looked at without {needed}: {', '.join(names)}")
    return lines
