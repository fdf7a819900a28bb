"""Vision transformers from torchvision. GLaD's ViT is another network: see `vit`."""

from typing import Any

from torch import nn

from ddlabel.methods.nets.registry import (
    Stem,
    nets,
    require_size,
    torchvision_models,
    with_stem,
)


@nets.named("torchvision-vit-b-16")
def vit_b_16(*, channels: int, size: int, num_classes: int) -> nn.Module:
    """ViT-B/16 of torchvision, with positions for images of any size (RDED).

    86,567,656 parameters at 224 px with 1000 classes.

    Raises:
        ValueError: Patches of 16 px do not tile the images.
    """
    if size % 16:
        raise ValueError("patches of 16 px do not tile them; take a multiple of 16 px")
    net = torchvision_models().vit_b_16(image_size=size, num_classes=num_classes)
    return with_stem(net, channels)


@nets.named("torchvision-swin-t")
def swin_t(*, channels: int, size: int, num_classes: int, stem: Stem = "original") -> nn.Module:
    """Swin-T of torchvision; with `stem=small` its patches are 2×2 and its windows 4×4.

    28,288,354 parameters with 1000 classes, 27,507,028 with 10 classes and `stem=small`.

    Raises:
        ValueError: The images are below 32 px, or below 16 px with `stem=small`.
    """
    return _swin(channels, size, num_classes, stem, window=7)


@nets.named("torchvision-swin-v2-t")
def swin_v2_t(*, channels: int, size: int, num_classes: int, stem: Stem = "original") -> nn.Module:
    """Swin-V2-T of torchvision (GIFT, RDED); `stem=small` sets 2×2 patches and 4×4 windows.

    28,351,570 parameters with 1000 classes, 27,586,804 with 10 classes and `stem=small`.

    Raises:
        ValueError: The images are below 32 px, or below 16 px with `stem=small`.
    """
    blocks = torchvision_models().swin_transformer
    return _swin(
        channels,
        size,
        num_classes,
        stem,
        window=8,
        block=blocks.SwinTransformerBlockV2,
        downsample_layer=blocks.PatchMergingV2,
    )


def _swin(
    channels: int, size: int, num_classes: int, stem: Stem, *, window: int, **version: Any
) -> nn.Module:
    """Build the tiny Swin transformer; `window` is the side of torchvision's windows."""
    patch = 4
    if stem == "small":
        patch = 2
        window = 4
    require_size(size, 8 * patch)
    net = torchvision_models().SwinTransformer(
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
