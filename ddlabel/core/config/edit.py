"""Options of `edit`."""

from dataclasses import dataclass

from ddlabel.core.option import option
from ddlabel.core.options import Options


@dataclass(frozen=True, kw_only=True)
class EditOptions(Options):
    """`edit`: labels changed on purpose (Label-Worth, section 4), classes renamed or reordered."""

    op: tuple[str, ...] = option(
        (), "edit spec, e.g. top-k:k=3; several are carried out in their order"
    )
    field: str = option(
        "soft",
        "which labels to edit; hard: soft labels are made of the classes and edited, in place of "
        "those that there are",
        choices=("soft", "dense", "hard"),
        needs={"hard": "op"},
    )
    without_class: str | None = option(
        None, "class, by name or number, whose images to remove; the labels keep the class"
    )
    without_images: str | None = option(
        None, "images to remove, by their numbers from 0: 3,17,40-59"
    )
    class_names: str | None = option(
        None,
        "new names of the classes, whose order stays: with commas, or a file, a bundle or an "
        "expert run that has them",
        recorded=False,
    )
    class_order: str | None = option(
        None,
        "the class names in another order, which classes and labels then have: with commas, or a "
        "file, a bundle or an expert run that has them",
        recorded=False,
    )
    label_order: str | None = option(
        None,
        "the class names in the order in which the labels of --field were made, where this is "
        "another order than that of the classes",
        recorded=False,
        not_with="field=hard",
    )
