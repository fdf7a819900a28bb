"""`refine`: GIFT's label refinement over a bundle."""

from dataclasses import replace
from typing import Any

import numpy as np

from ddlabel import files
from ddlabel.bundle import Bundle
from ddlabel.config import RefineOptions
from ddlabel.errors import IncompatibleError
from ddlabel.header import LabelSpace
from ddlabel.labels.refine import gift
from ddlabel.steps.relabel import label_blocks


def refine(bundle: Bundle, options: RefineOptions) -> Bundle:
    """Soft labels, or the dense label of every view, mixed with the image's smoothed hard label.

    Raises:
        IncompatibleError: if the bundle has no such labels, or they cannot be refined in that space.
    """
    name = f"{options.field}_labels"
    labels, label = getattr(bundle, name), getattr(bundle, options.field)
    if labels is None:
        maker = {"soft": "relabel", "dense": "densify"}[options.field]
        raise IncompatibleError(f"the bundle has no {options.field} labels: make them with 'ddlabel {maker}'")
    if options.field == "dense" and bundle.dense_mix is not None:
        raise IncompatibleError(
            "the views are blended, two classes in one: refine as they are learned, with --loss gift"
        )
    refined = files.scratch(labels.shape, np.float32)
    for rows, target in label_blocks(bundle, options.field):
        mixed = gift(target.values, label, target.hard, space=options.space, gamma=options.gamma, alpha=options.alpha)
        refined[rows] = mixed.view(-1, *labels.shape[1:]).numpy()
    space = LabelSpace(space="direction" if options.space == "logits" else "probs", source=f"{label.source} refined")
    changes: dict[str, Any] = {name: refined, options.field: space}
    return replace(bundle, **changes)
