"""Convolutional networks from torchvision: unmodified, and fitted to small images.

The field's AlexNet, VGG11 and ResNet18 are other networks: see `alexnet_vgg` and `resnet`.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from ddlabel.methods.nets.registry import (
    Stem,
    nets,
    require_size,
    torchvision_models,
    with_stem,
)

_RESNET = """ResNet{depth} of torchvision: 7×7 stem, batch norm (GIFT, Label-Worth, RDED, SRe2L).

torchvision-resnet18, -resnet50 and -resnet101 have 11,689,512, 25,557,032 and 44,549,160
parameters with 1000 classes.
"""
_MODIFIED = """ResNet{depth} of torchvision with a 3×3 stem and no max-pooling (GIFT, RDED, SRe2L).

With 10 classes, those of depth 18, 50 and 101 have 11,173,962, 23,520,842 and 42,512,970
parameters.
"""


@nets.named("torchvision-alexnet")
def alexnet(*, channels: int, size: int, num_classes: int, stem: Stem = "original") -> nn.Module:
    """AlexNet of torchvision (RDED); `stem=small` fits it to images below 128 px.

    Then its first convolution is 5×5, with stride 1 below 64 px, 2 below 96 px, 3 below 128 px and
    4 above, and a last map below 6×6 is classified as it is, not enlarged. With 1000 classes it has
    61,100,840 parameters, with `stem=small`, 32 px and 10 classes 28,714,826.

    Raises:
        ValueError: The images are below 63 px, or below 15 px with `stem=small`.
    """
    if stem == "original":
        require_size(size, 63, "or stem=small")
        return with_stem(torchvision_models().alexnet(num_classes=num_classes), channels)
    require_size(size, 15)
    net = torchvision_models().alexnet(num_classes=num_classes)
    stride = min(4, max(1, size // 32))
    side = (size + 4 - 5) // stride + 1
    for _ in range(3):  # 3×3 max-poolings at stride 2
        side = (side - 1) // 2
    return with_stem(_fitted_to_last_map(net, side), channels, kernel_size=5, stride=stride)


@nets.named("torchvision-vgg11")
def vgg11(*, channels: int, size: int, num_classes: int, stem: Stem = "original") -> nn.Module:
    """VGG11 of torchvision, without norm (RDED); `stem=small` fits it to small images.

    Then its first convolution pads 28 px images to 32, and a last map below 7×7 is classified as it
    is, not enlarged. With 1000 classes it has 132,863,336 parameters, with `stem=small`, 32 px and
    10 classes 28,144,010.

    Raises:
        ValueError: The images are below 32 px; `stem=small` takes 28 px too.
    """
    geometry: dict[str, int] = {}
    side = size
    if size == 28 and stem == "small":
        geometry = {"padding": 3}
        side = 32
    require_size(side, 32)
    net = torchvision_models().vgg11(num_classes=num_classes)
    if stem == "original":
        return with_stem(net, channels)
    return with_stem(_fitted_to_last_map(net, side >> 5), channels, **geometry)


@nets.named("torchvision-efficientnet-b0")
def efficientnet_b0(
    *,
    channels: int,
    size: int,  # noqa: ARG001 - every network takes it
    num_classes: int,
    stem: Stem = "original",
) -> nn.Module:
    """EfficientNet-B0 of torchvision (GIFT, RDED); with `stem=small` the first stride is 1.

    4,020,358 parameters with 10 classes.
    """
    net = torchvision_models().efficientnet_b0(num_classes=num_classes)
    return with_stem(net, channels, **_first_stride(stem))


@nets.named("torchvision-mobilenet-v2")
def mobilenet_v2(
    *,
    channels: int,
    size: int,  # noqa: ARG001 - every network takes it
    num_classes: int,
    stem: Stem = "original",
) -> nn.Module:
    """MobileNetV2 of torchvision (GIFT, RDED); with `stem=small` the first stride is 1.

    2,236,682 parameters with 10 classes.
    """
    net = torchvision_models().mobilenet_v2(num_classes=num_classes)
    return with_stem(net, channels, **_first_stride(stem))


def _resnet_of_depth(depth: int, *, modified: bool) -> Callable[..., nn.Module]:
    def resnet(
        *,
        channels: int,
        size: int,  # noqa: ARG001 - every network takes it
        num_classes: int,
    ) -> nn.Module:
        net = getattr(torchvision_models(), f"resnet{depth}")(num_classes=num_classes)
        if not modified:
            return with_stem(net, channels)
        net.maxpool = nn.Identity()
        return with_stem(net, channels, kernel_size=3, stride=1, padding=1)

    resnet.__doc__ = (_MODIFIED if modified else _RESNET).format(depth=depth)
    return resnet


for _depth in (18, 50, 101):
    nets.named(f"torchvision-resnet{_depth}")(_resnet_of_depth(_depth, modified=False))
    nets.named(f"resnet{_depth}-modified")(_resnet_of_depth(_depth, modified=True))


def _first_stride(stem: Stem) -> dict[str, int]:
    return {"stride": 1} if stem == "small" else {}


def _fitted_to_last_map(net: Any, side: int) -> Any:
    """Fit the classifier to last maps of side × side that are smaller than the net's own.

    The net's adaptive pooling would enlarge such maps.
    """
    native_side = net.avgpool.output_size[0]
    if side >= native_side:
        return net
    net.avgpool = nn.Identity()
    index = 0 if isinstance(net.classifier[0], nn.Linear) else 1
    old = net.classifier[index]
    num_channels = old.in_features // native_side**2
    net.classifier[index] = nn.Linear(num_channels * side**2, old.out_features)
    return net
