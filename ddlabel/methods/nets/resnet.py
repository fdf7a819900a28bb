"""Residual networks, torchvision's: as they are, and fitted to small images."""

from collections.abc import Callable
from typing import Any, Literal

import torchvision
from torch import nn

from ddlabel.methods.nets.registry import at_least, nets, with_stem

Norm = Literal["batch", "instance"]
_SMALL = {"kernel_size": 3, "stride": 1, "padding": 1}


def _resnet(depth: int, classes: int, norm: Norm) -> Any:
    layer = nn.BatchNorm2d if norm == "batch" else lambda width: nn.GroupNorm(width, width)
    return getattr(torchvision.models, f"resnet{depth}")(num_classes=classes, norm_layer=layer)


def _of_depth(depth: int, *, modified: bool) -> Callable[..., nn.Module]:
    def make(*, channels: int, size: int, classes: int, norm: Norm = "batch") -> nn.Module:
        """ResNet{depth} with a first convolution of {kind}.

        The modified ones of depth 18, 50 and 101 have 11,173,962, 23,520,842 and 42,512,970 parameters with 10
        classes, the others 7,680 more. MTT's own ResNet18 is `resnet18-modified:norm=instance`.
        """
        if norm == "instance":  # of a last map of one pixel it would leave a constant
            at_least(size, 9 if modified else 33)
        net = _resnet(depth, classes, norm)
        if modified:
            net.maxpool = nn.Identity()
        return with_stem(net, channels, **(_SMALL if modified else {}))

    kind = (
        "3×3 at stride 1, no max-pooling (RDED, SRe2L, GIFT)"
        if modified
        else "7×7 at stride 2 (torchvision's own)"
    )
    make.__doc__ = (make.__doc__ or "").format(depth=depth, kind=kind)
    return make


for _depth in (18, 50, 101):
    nets.named(f"resnet{_depth}")(_of_depth(_depth, modified=False))
    nets.named(f"resnet{_depth}-modified")(_of_depth(_depth, modified=True))


@nets.named("resnet18-ap")
def resnet18_ap(*, channels: int, size: int, classes: int, norm: Norm = "batch") -> nn.Module:
    """ResNet18 with a 3×3 stem and average pooling for every stride; its whole last map is classified (DC, MTT).

    The field's ResNet18_AP has `norm=instance`, its ResNet18BN_AP the default. 11,250,762 parameters at 32 px with
    10 classes.
    """
    at_least(size, 16 if norm == "instance" else 8)
    net = _resnet(18, classes, norm)
    net.maxpool = net.avgpool = nn.Identity()
    for block in (net.layer2[0], net.layer3[0], net.layer4[0]):
        convolution, layer = block.downsample
        block.conv1.stride = convolution.stride = (1, 1)
        # Pooling comes after the first ReLU of the block, and before the norm of its shortcut.
        block.conv2 = nn.Sequential(nn.AvgPool2d(2), block.conv2)
        block.downsample = nn.Sequential(convolution, nn.AvgPool2d(2), layer)
    net.fc = nn.Linear(512 * (size >> 3) ** 2, classes)
    return with_stem(net, channels, **_SMALL)
