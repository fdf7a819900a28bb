"""The norm layers of the field's networks, by the names that their option `norm` takes."""

from typing import Literal

from torch import nn

Norm = Literal["instance", "batch", "group", "layer", "none"]


def norm_layers(norm: Norm, width: int, side: int) -> list[nn.Module]:
    """Return the norm layer for maps [width, side, side] as a list, empty for `none`.

    `instance` is GroupNorm with one group for each channel, as DC and MTT write it.
    """
    match norm:
        case "instance":
            return [nn.GroupNorm(width, width)]
        case "batch":
            return [nn.BatchNorm2d(width)]
        case "group":
            return [nn.GroupNorm(4, width)]
        case "layer":
            return [nn.LayerNorm([width, side, side])]
        case "none":
            return []
