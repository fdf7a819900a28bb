"""Signs of images that a distillation learned, and of the labels that it learned them for."""

import numpy as np

from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Array
from ddlabel.data.likeness import as_unit

# Pixels of real images are whole grey levels; so far they may be off, in levels.
_LEVEL_ROUNDING = 0.1
_SHARE_ON_LEVELS = 0.99
_MOST_IMAGES = 500
# Commands that give a bundle soft labels of an expert.
_LABELLING = ("relabel", "learn")


def are_levels(images: Array) -> bool:
    """Return whether nearly all pixels in unit space are whole grey levels, of several values."""
    levels = images * np.float32(255)
    whole = np.rint(levels)
    is_level = (np.abs(levels - whole) <= _LEVEL_ROUNDING) & (whole >= 0) & (whole <= 255)
    return bool(is_level.mean() >= _SHARE_ON_LEVELS and len(np.unique(whole)) > 2)


def learned_with_hard_labels(bundle: Bundle) -> bool:
    """Return whether the pixels seem learned, and came with hard labels alone.

    They are floating point and no whole grey levels, as of DC, DSA, DM and MTT. Real images that
    were resized as floating point look the same.
    """
    labelled_by = {entry.command for entry in bundle.history}
    came_with_soft = bundle.soft is not None and not labelled_by.intersection(_LABELLING)
    if bundle.pixels.space != "unit" or came_with_soft:
        return False
    return not are_levels(as_unit(bundle.images[:_MOST_IMAGES]))
