"""Vision transformers, torchvision's, in the sizes that the field evaluates on."""

from typing import Any

import torchvision
from torch import nn
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from ddlabel.methods.nets.registry import at_least, nets, with_stem


@nets.add
def vit(
    *,
    channels: int,
    size: int,
    classes: int,
    patch: int | None = None,
    width: int = 512,
    depth: int = 10,
    heads: int = 8,
    mlp: int = 512,
    dropout: float = 0.1,
) -> nn.Module:
    """Vision transformer, torchvision's, of 8×8 patches unless `patch`, their side in pixels, is set (GLaD, LADD).

    15,844,874 parameters at 32 px with 10 classes. ValueError if patches do not tile the images or heads do not share
    the width.
    """
    patch = -(-size // 8) if patch is None else patch
    if patch < 1 or size % patch:
        raise ValueError(
            f"patches of {patch} px do not tile them; set patch to a divisor of {size}"
        )
    if heads < 1 or width % heads:
        raise ValueError(f"a width of {width} is not a multiple of {heads} heads")
    make = torchvision.models.VisionTransformer
    return with_stem(
        make(size, patch, depth, heads, width, mlp, dropout, dropout, classes), channels
    )


@nets.add
def swin_t(*, channels: int, size: int, classes: int) -> nn.Module:
    """Swin-T, torchvision's; below 128 px its patches are 2×2 and its windows 4×4.

    27,507,028 parameters at 32 px with 10 classes.
    """
    return _swin(channels, size, classes, window=7)


@nets.add
def swin_v2_t(*, channels: int, size: int, classes: int) -> nn.Module:
    """Swin-V2-T, torchvision's; below 128 px its patches are 2×2 and its windows 4×4.

    27,586,804 parameters at 32 px with 10 classes.
    """
    return _swin(
        channels,
        size,
        classes,
        window=8,
        block=SwinTransformerBlockV2,
        downsample_layer=PatchMergingV2,
    )


def _swin(channels: int, size: int, classes: int, window: int, **version: Any) -> nn.Module:
    at_least(size, 16)
    patch, window = (4, window) if size >= 128 else (2, 4)
    shape: Any = [patch, patch], 96, [2, 2, 6, 2], [3, 6, 12, 24], [window, window]
    net = torchvision.models.SwinTransformer(
        *shape, stochastic_depth_prob=0.2, num_classes=classes, **version
    )
    return with_stem(net, channels)
