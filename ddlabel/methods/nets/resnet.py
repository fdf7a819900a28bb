"""Residual networks from torchvision: unchanged, and fitted to small images."""

from collections.abc import Callable
from typing import Any, Literal

import torchvision
from torch import nn

from ddlabel.methods.nets.registry import nets, require_size, with_stem

Norm = Literal["batch", "instance"]

_SMALL_STEM = {"kernel_size": 3, "stride": 1, "padding": 1}
_ORIGINAL = "7×7 at stride 2, as in torchvision"
_MODIFIED = "3×3 at stride 1 and no max-pooling (RDED, SRe2L, GIFT)"
_DOC = """ResNet{depth} with a first convolution of {stem}.

With 10 classes, the modified networks of depth 18, 50 and 101 have 11,173,962, 23,520,842 and
42,512,970 parameters, the others 7,680 more. MTT's own ResNet18 is
`resnet18-modified:norm=instance`.

Raises:
    ValueError: With instance norm, the images are too small.
"""


def _resnet_of_depth(depth: int, *, modified: bool) -> Callable[..., nn.Module]:
    def resnet(*, channels: int, size: int, num_classes: int, norm: Norm = "batch") -> nn.Module:
        if norm == "instance":
            # Instance norm of a last map of one pixel would leave a constant.
            require_size(size, 9 if modified else 33)
        net = _torchvision_resnet(depth, num_classes, norm)
        if not modified:
            return with_stem(net, channels)
        net.maxpool = nn.Identity()
        return with_stem(net, channels, **_SMALL_STEM)

    resnet.__doc__ = _DOC.format(depth=depth, stem=_MODIFIED if modified else _ORIGINAL)
    return resnet


def _torchvision_resnet(depth: int, num_classes: int, norm: Norm) -> Any:
    make = getattr(torchvision.models, f"resnet{depth}")
    norm_layer = nn.BatchNorm2d if norm == "batch" else _instance_norm
    return make(num_classes=num_classes, norm_layer=norm_layer)


def _instance_norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(width, width)


for _depth in (18, 50, 101):
    nets.named(f"resnet{_depth}")(_resnet_of_depth(_depth, modified=False))
    nets.named(f"resnet{_depth}-modified")(_resnet_of_depth(_depth, modified=True))


@nets.named("resnet18-ap")
def resnet18_ap(*, channels: int, size: int, num_classes: int, norm: Norm = "batch") -> nn.Module:
    """ResNet18 with a 3×3 stem and average pooling in place of every stride (DC, MTT).

    The whole last map is classified. The field's ResNet18_AP has `norm=instance`, its ResNet18BN_AP
    the default. 11,250,762 parameters at 32 px with 10 classes.

    Raises:
        ValueError: The images are below 8 px, or below 16 px with instance norm.
    """
    require_size(size, 16 if norm == "instance" else 8)
    net = _torchvision_resnet(18, num_classes, norm)
    net.maxpool = nn.Identity()
    net.avgpool = nn.Identity()
    for block in (net.layer2[0], net.layer3[0], net.layer4[0]):
        shortcut_convolution, shortcut_norm = block.downsample
        block.conv1.stride = (1, 1)
        shortcut_convolution.stride = (1, 1)
        # Pooling comes after the first ReLU of the block, and before the norm of its shortcut.
        block.conv2 = nn.Sequential(nn.AvgPool2d(2), block.conv2)
        block.downsample = nn.Sequential(shortcut_convolution, nn.AvgPool2d(2), shortcut_norm)
    last_side = size >> 3
    net.fc = nn.Linear(512 * last_side**2, num_classes)
    return with_stem(net, channels, **_SMALL_STEM)
