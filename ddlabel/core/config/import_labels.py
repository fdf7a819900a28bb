"""Options of `import-labels`."""

from dataclasses import dataclass

from ddlabel.core.option import option
from ddlabel.core.options import Options


@dataclass(frozen=True, kw_only=True)
class ImportLabelsOptions(Options):
    """`import-labels`: labels of your own on a bundle."""

    array: str | None = option(
        None, "name of the labels, where an .npz or .pt file has several arrays"
    )
    label_space: str | None = option(
        None,
        "space of soft or dense labels, where their numbers leave a doubt",
        choices=("logits", "probs", "mass"),
    )
    temperature: float = option(
        1.0, "logits are divided by it before the softmax", above=0, high=1e6
    )
