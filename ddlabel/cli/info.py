"""`ddlabel info`."""

from typing import TYPE_CHECKING, Any

from ddlabel.cli.command import BundleArgument, cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command
from ddlabel.core.normalisation import conventions

if TYPE_CHECKING:
    from ddlabel.data.schema import Header

_MOST_CLASSES_SHOWN = 12


@cli_command("info")
def info(bundle: BundleArgument, *, reporter: TerminalReporter) -> None:
    """Show the header of a bundle: shapes, classes, label spaces, and the commands that made it.

    Example: ddlabel info soft.safetensors
    """
    command = load_command("info")
    header = command.run({"bundle": bundle}, None, reporter)
    value = command.json_value(header)
    reporter.result(_lines(header, value["shell"]), value)


def _lines(header: "Header", shell: list[str]) -> list[str]:
    """Return a header as lines, with the commands that made the bundle at the end."""
    num_images, *image_shape = header.arrays["images"].shape
    size = " × ".join(map(str, image_shape))
    mean = " ".join(f"{value:.4f}" for value in header.pixels.mean)
    std = " ".join(f"{value:.4f}" for value in header.pixels.std)
    convention = conventions.name_of(header.pixels.mean, header.pixels.std)
    num_classes = len(header.classes)
    names = ", ".join(header.classes[:_MOST_CLASSES_SHOWN])
    if num_classes > _MOST_CLASSES_SHOWN:
        names += f", … {num_classes - _MOST_CLASSES_SHOWN} more"
    lines = [
        f"images       {num_images} of {size}, {header.pixels.space}",
        f"normalise    mean {mean}, std {std}{f' ({convention})' if convention else ''}",
        f"classes      {num_classes}: {names}",
    ]
    for field, meta in (("soft", header.soft), ("dense", header.dense)):
        if meta is not None:
            stored = header.arrays[f"{field}_labels"]
            shape = " × ".join(map(str, stored.shape[1:]))
            temperature = f"temperature {meta.temperature:g}"
            lines.append(
                f"{field:<13}{shape} {meta.space} as {stored.dtype}, {temperature}, "
                f"from {meta.source}"
            )
    for entry in header.history:
        for name, value in entry.facts.items():
            lines.append(f"{name.replace('_', ' '):<13}{_shown(value)}")
    lines += [f"digest       {header.digest}", "made by"]
    return lines + [f"    {line}" for line in shell]


def _shown(fact: Any) -> str:
    """Return a fact of the history as text: of accuracies by network, their means."""
    if isinstance(fact, dict):
        return ", ".join(f"{name} {_shown(value)}" for name, value in fact.items())
    if isinstance(fact, list):
        return f"{sum(fact) / len(fact):.4g} (mean of {len(fact)})"
    return f"{fact:.6g}" if isinstance(fact, float) else str(fact)
