"""ResNet18 as DC, MTT and GLaD define it. RDED's `resnet18-modified` has torchvision's weights."""

from typing import Any, Literal

from torch import nn

from ddlabel.methods.nets.norms import norm_layers
from ddlabel.methods.nets.pooling import MeanPool2x2
from ddlabel.methods.nets.registry import nets, require_size, torchvision_models, with_stem

Norm = Literal["instance", "batch"]

_SMALL_STEM = {"kernel_size": 3, "stride": 1, "padding": 1}


@nets.add
def resnet18(*, channels: int, size: int, num_classes: int, norm: Norm = "instance") -> nn.Module:
    """ResNet18 of DC, MTT and GLaD: 3×3 stem, no max-pooling, instance norm (LADD's CAE).

    Their ResNet18BN has `norm=batch`. 11,173,962 parameters with 10 classes.

    Raises:
        ValueError: With instance norm, the images are below 9 px.
    """
    if norm == "instance":
        # Instance norm of a last map of one pixel would leave a constant.
        require_size(size, 9)
    return with_stem(_without_pooling(num_classes, norm), channels, **_SMALL_STEM)


@nets.named("resnet18-ap")
def resnet18_ap(
    *, channels: int, size: int, num_classes: int, norm: Norm = "instance"
) -> nn.Module:
    """ResNet18_AP of DC and MTT: `resnet18` with average pooling in place of every stride.

    The whole last map is classified. Their ResNet18BN_AP has `norm=batch`. 11,250,762 parameters at
    32 px with 10 classes.

    Raises:
        ValueError: The images are below 8 px, or below 16 px with instance norm.
    """
    require_size(size, 16 if norm == "instance" else 8)
    net = _without_pooling(num_classes, norm)
    net.avgpool = nn.Identity()
    for block in (net.layer2[0], net.layer3[0], net.layer4[0]):
        shortcut_convolution, shortcut_norm = block.downsample
        block.conv1.stride = (1, 1)
        shortcut_convolution.stride = (1, 1)
        # Pooling comes after the first ReLU of the block, and before the norm of its shortcut.
        block.conv2 = nn.Sequential(MeanPool2x2(), block.conv2)
        block.downsample = nn.Sequential(shortcut_convolution, MeanPool2x2(), shortcut_norm)
    net.fc = nn.Linear(512 * (size // 8) ** 2, num_classes)
    return with_stem(net, channels, **_SMALL_STEM)


def _without_pooling(num_classes: int, norm: Norm) -> Any:
    """Return a ResNet18 without max-pooling, with another norm and with PyTorch's first weights."""

    def norm_layer(width: int) -> nn.Module:
        (layer,) = norm_layers(norm, width, side=0)
        return layer

    net = torchvision_models().resnet18(num_classes=num_classes, norm_layer=norm_layer)
    net.maxpool = nn.Identity()
    # torchvision draws the weights of convolutions in another way than PyTorch and the field do.
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    return net
