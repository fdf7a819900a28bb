"""Options of `describe`."""

from dataclasses import dataclass

from ddlabel.core.config.shared import RuntimeOptions
from ddlabel.core.option import option


@dataclass(frozen=True, kw_only=True)
class DescribeOptions(RuntimeOptions):
    """`describe`: figures of labels."""

    field: str = option("soft", "which labels to describe", choices=("soft", "dense"))
    against: str | None = option(
        None, "bundle of the same images whose labels to compare with", recorded=False
    )
    # Experts label whole images here.
    expert: tuple[str, ...] = option(
        (),
        "expert run; the labels of each of its checkpoints are compared with",
        recorded=False,
        not_with="field=dense",
    )
