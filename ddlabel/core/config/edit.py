"""Options of `edit`."""

from dataclasses import dataclass

from ddlabel.core.option import option
from ddlabel.core.options import Options


@dataclass(frozen=True, kw_only=True)
class EditOptions(Options):
    """`edit`: labels changed on purpose (Label-Worth, section 4)."""

    op: tuple[str, ...] = option(
        (), "edit spec, e.g. top-k:k=3; several are carried out in their order"
    )
    field: str = option("soft", "which labels to edit", choices=("soft", "dense"))
    without_class: str | None = option(
        None, "class, by name or number, whose images to remove; the labels keep the class"
    )
