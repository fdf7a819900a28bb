"""AlexNet, VGG and the mobile networks, torchvision's, fitted to small images."""

from typing import Any

import torchvision
from torch import nn

from ddlabel.methods.nets.registry import at_least, nets, with_stem


@nets.add
def alexnet(*, channels: int, size: int, classes: int) -> nn.Module:
    """AlexNet, torchvision's; below 128 px its first convolution is 5×5 at stride 1, from 64 px on 2 and from 96 on 3.

    A last map below 6×6 is classified as it is, not blown up. 28,714,826 parameters at 32 px with 10 classes.
    """
    at_least(size, 15)
    kernel, stride = (5, max(1, size // 32)) if size < 128 else (11, 4)
    geometry = {"kernel_size": kernel, "stride": stride} if size < 128 else {}
    side = (size + 4 - kernel) // stride + 1
    for _ in range(3):
        side = (side - 1) // 2
    return with_stem(
        _unpooled(torchvision.models.alexnet(num_classes=classes), side), channels, **geometry
    )


@nets.add
def vgg11(*, channels: int, size: int, classes: int) -> nn.Module:
    """VGG11 without batch norm, torchvision's; 28 px images are padded to 32 by the first convolution.

    A last map below 7×7 is classified as it is, not blown up. 28,144,010 parameters at 32 px with 10 classes.
    """
    padding = {"padding": 3} if size == 28 else {}
    side = 32 if padding else size
    at_least(side, 32)
    return with_stem(
        _unpooled(torchvision.models.vgg11(num_classes=classes), side >> 5), channels, **padding
    )


@nets.add
def efficientnet_b0(*, channels: int, size: int, classes: int) -> nn.Module:
    """EfficientNet-B0, torchvision's; below 128 px its first convolution has stride 1.

    4,020,358 parameters with 10 classes.
    """
    return with_stem(
        torchvision.models.efficientnet_b0(num_classes=classes), channels, **_stride(size)
    )


@nets.add
def mobilenet_v2(*, channels: int, size: int, classes: int) -> nn.Module:
    """MobileNetV2, torchvision's; below 128 px its first convolution has stride 1.

    2,236,682 parameters with 10 classes.
    """
    return with_stem(
        torchvision.models.mobilenet_v2(num_classes=classes), channels, **_stride(size)
    )


def _stride(size: int) -> dict[str, int]:
    return {"stride": 1} if size < 128 else {}


def _unpooled(net: Any, side: int) -> Any:
    """`net` for last maps of `side` × `side`: adaptive pooling would blow up those below its own size."""
    native = net.avgpool.output_size[0]
    if side < native:
        index = 0 if isinstance(net.classifier[0], nn.Linear) else 1
        old, net.avgpool = net.classifier[index], nn.Identity()
        net.classifier[index] = nn.Linear(old.in_features // native**2 * side**2, old.out_features)
    return net
