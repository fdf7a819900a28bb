"""Vision transformers from torchvision, in the sizes that the field evaluates on."""

import math
from typing import Any

import torchvision
from torch import nn
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from ddlabel.methods.nets.registry import nets, require_size, with_stem


@nets.add
def vit(
    *,
    channels: int,
    size: int,
    num_classes: int,
    patch: int | None = None,
    width: int = 512,
    depth: int = 10,
    heads: int = 8,
    mlp: int = 512,
    dropout: float = 0.1,
) -> nn.Module:
    """Vision transformer from torchvision with 8×8 patches (GLaD, LADD).

    `patch` sets another side of the patches, in pixels. 15,844,874 parameters at 32 px with 10
    classes.

    Raises:
        ValueError: The patches do not tile the images, or the width is not a multiple of the heads.
    """
    if patch is None:
        patch = math.ceil(size / 8)
    if patch < 1 or size % patch:
        raise ValueError(
            f"patches of {patch} px do not tile them; set patch to a divisor of {size}"
        )
    if heads < 1 or width % heads:
        raise ValueError(f"a width of {width} is not a multiple of {heads} heads")
    net = torchvision.models.VisionTransformer(
        image_size=size,
        patch_size=patch,
        num_layers=depth,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=mlp,
        dropout=dropout,
        attention_dropout=dropout,
        num_classes=num_classes,
    )
    return with_stem(net, channels)


@nets.add
def swin_t(*, channels: int, size: int, num_classes: int) -> nn.Module:
    """Swin-T from torchvision; below 128 px its patches are 2×2 and its windows 4×4.

    27,507,028 parameters at 32 px with 10 classes.

    Raises:
        ValueError: The images are below 16 px.
    """
    return _swin(channels, size, num_classes, window=7)


@nets.add
def swin_v2_t(*, channels: int, size: int, num_classes: int) -> nn.Module:
    """Swin-V2-T from torchvision; below 128 px its patches are 2×2 and its windows 4×4.

    27,586,804 parameters at 32 px with 10 classes.

    Raises:
        ValueError: The images are below 16 px.
    """
    return _swin(
        channels,
        size,
        num_classes,
        window=8,
        block=SwinTransformerBlockV2,
        downsample_layer=PatchMergingV2,
    )


def _swin(channels: int, size: int, num_classes: int, *, window: int, **version: Any) -> nn.Module:
    """Build the tiny Swin transformer; `window` is its window's side from 128 px on."""
    require_size(size, 16)
    patch = 4
    if size < 128:
        patch = 2
        window = 4
    net = torchvision.models.SwinTransformer(
        patch_size=[patch, patch],
        embed_dim=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=[window, window],
        stochastic_depth_prob=0.2,
        num_classes=num_classes,
        **version,
    )
    return with_stem(net, channels)
