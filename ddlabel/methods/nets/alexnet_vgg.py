"""AlexNet and VGG from torchvision, fitted to small images."""

from typing import Any

import torchvision
from torch import nn

from ddlabel.methods.nets.registry import nets, require_size, with_stem


@nets.add
def alexnet(*, channels: int, size: int, num_classes: int) -> nn.Module:
    """AlexNet from torchvision; below 128 px its first convolution is 5×5 with a smaller stride.

    That stride is 1 below 64 px, 2 below 96 px and 3 below 128 px. A last map below 6×6 is
    classified as it is, not enlarged. 28,714,826 parameters at 32 px with 10 classes.

    Raises:
        ValueError: The images are below 15 px.
    """
    require_size(size, 15)
    if size < 128:
        kernel_size, stride = 5, max(1, size // 32)
        geometry = {"kernel_size": kernel_size, "stride": stride}
    else:
        kernel_size, stride = 11, 4
        geometry = {}
    side = (size + 4 - kernel_size) // stride + 1
    for _ in range(3):  # 3×3 max-poolings at stride 2
        side = (side - 1) // 2
    net = torchvision.models.alexnet(num_classes=num_classes)
    return with_stem(_fitted_to_last_map(net, side), channels, **geometry)


@nets.add
def vgg11(*, channels: int, size: int, num_classes: int) -> nn.Module:
    """VGG11 without batch norm from torchvision; its first convolution pads 28 px images to 32.

    A last map below 7×7 is classified as it is, not enlarged. 28,144,010 parameters at 32 px with
    10 classes.

    Raises:
        ValueError: The images are below 32 px, except 28 px.
    """
    geometry: dict[str, int] = {}
    side = size
    if size == 28:
        geometry = {"padding": 3}
        side = 32
    require_size(side, 32)
    net = torchvision.models.vgg11(num_classes=num_classes)
    return with_stem(_fitted_to_last_map(net, side >> 5), channels, **geometry)


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
