"""`refine`: GIFT's label refinement over a bundle."""

import numpy as np

from ddlabel import files
from ddlabel.bundle import Bundle
from ddlabel.codecs import Stored
from ddlabel.config import RefineOptions
from ddlabel.errors import UsageError
from ddlabel.header import LabelSpace
from ddlabel.labels.figures import label_blocks
from ddlabel.labels.refine import gift


def refine(bundle: Bundle, options: RefineOptions) -> Bundle:
    """Soft labels, or the dense label of every view, mixed with the smoothed hard label (of both images, if blended).

    IncompatibleError if the bundle has no such labels, or they cannot be refined in that space.
    """
    if isinstance(options.gamma, str):
        raise UsageError("--gamma auto is chosen on real images: name them with --real, or give a number")
    label = bundle.label(options.field)
    shape = getattr(bundle, f"{options.field}_labels").shape[:-1]
    refined = files.scratch((*shape, len(bundle.classes)), np.float32)
    for rows, target in label_blocks(bundle, options.field):
        mixed = gift(
            target.values,
            label,
            target.hard,
            space=options.space,
            gamma=options.gamma,
            alpha=options.alpha,
            smoothing=options.smoothing,
        )
        refined[rows] = mixed.view(refined[rows].shape).numpy()
    space = LabelSpace(space="direction" if options.space == "logits" else "probs", source=f"{label.source} refined")
    return bundle.with_labels(options.field, Stored(refined, space))
