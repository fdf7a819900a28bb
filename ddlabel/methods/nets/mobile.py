"""Networks for mobile devices from torchvision, fitted to small images."""

import torchvision
from torch import nn

from ddlabel.methods.nets.registry import nets, with_stem


@nets.add
def efficientnet_b0(*, channels: int, size: int, num_classes: int) -> nn.Module:
    """EfficientNet-B0 from torchvision; below 128 px its first convolution has stride 1.

    4,020,358 parameters with 10 classes.
    """
    net = torchvision.models.efficientnet_b0(num_classes=num_classes)
    return with_stem(net, channels, **_stem_stride(size))


@nets.add
def mobilenet_v2(*, channels: int, size: int, num_classes: int) -> nn.Module:
    """MobileNetV2 from torchvision; below 128 px its first convolution has stride 1.

    2,236,682 parameters with 10 classes.
    """
    net = torchvision.models.mobilenet_v2(num_classes=num_classes)
    return with_stem(net, channels, **_stem_stride(size))


def _stem_stride(size: int) -> dict[str, int]:
    return {"stride": 1} if size < 128 else {}
