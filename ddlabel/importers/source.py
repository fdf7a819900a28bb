"""What an importer finds: images and labels, before they become a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddlabel.header import Space

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Images [N, C, H, W] as uint8 or in float32 unit space, hard labels [N], and soft labels [N, K] if there are."""

    images: Array
    hard_labels: Array
    classes: tuple[str, ...]
    soft_labels: Array | None = None
    label_space: Space = "logits"


def numbered(classes: int) -> tuple[str, ...]:
    """Names for classes that have none: "0", "1", "2" and so on."""
    return tuple(str(number) for number in range(classes))


def grey_to_chw(images: Array) -> Array:
    """Images [N, H, W], [N, H, W, C] or [N, C, H, W] as [N, C, H, W]; C is 1 or 3."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images
