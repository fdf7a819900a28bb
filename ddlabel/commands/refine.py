"""`refine`: GIFT's label refinement over a bundle."""

from typing import Any

from ddlabel.core.config import RefineOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.blocks import map_labels
from ddlabel.methods.labels.gift import gift
from ddlabel.methods.labels.target import Target


def refine(bundle: Bundle, options: RefineOptions) -> Bundle:
    """Soft labels, or the dense label of every view, mixed with the smoothed hard label (of both images, if blended).

    IncompatibleError if the bundle has no such labels, or they cannot be refined in that space.
    """
    gamma = options.gamma
    if isinstance(gamma, str):
        raise UsageError(
            "--gamma auto is chosen on real images: name them with --real, or give a number"
        )
    if " refined at " in bundle.labels(options.field).meta.source:
        raise IncompatibleError(
            "the labels are refined already: refine the labels that they were made from"
        )
    space = LabelMeta(space="direction" if options.space == "logits" else "probs")
    given: dict[str, Any] = {
        "space": options.space,
        "alpha": options.alpha,
        "smoothing": options.smoothing,
    }

    def refined(target: Target) -> Target:
        values = gift(target.values, target.label, target.hard, gamma=gamma, **given)
        if not bool(values.isfinite().all()):
            raise IncompatibleError(
                "a label has no probability left and --gamma is 0: give a larger one"
            )
        return Target(hard=target.hard, values=values, label=space)

    return map_labels(bundle, options.field, refined, how=f"refined at {gamma:g}")
