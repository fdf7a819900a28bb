"""AlexNet and VGG11 as DC, MTT and GLaD define them. torchvision's are other networks."""

from collections import OrderedDict
from typing import Literal

from torch import nn

from ddlabel.methods.nets.norms import norm_layers
from ddlabel.methods.nets.registry import nets, require_size

# The output channels of the convolutions of VGG11, and the places of its max-poolings.
_VGG11 = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool")


@nets.add
def alexnet(*, channels: int, size: int, num_classes: int) -> nn.Module:
    """AlexNet of DC, MTT and GLaD: five convolutions without norm, one linear layer (LADD's CAE).

    The first convolution is 5×5 at stride 1 and pads 28 px images to 32. With 10 classes it has
    1,872,202 parameters at 32 px and 2,333,002 at 128 px.

    Raises:
        ValueError: The images are below 8 px.
    """
    require_size(size, 8)
    side = 32 if size == 28 else size
    features = nn.Sequential(
        nn.Conv2d(channels, 128, kernel_size=5, padding=4 if size == 28 else 2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(128, 192, kernel_size=5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(192, 256, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(256, 192, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(192, 192, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )
    linear = nn.Linear(192 * (side // 8) ** 2, num_classes)
    return nn.Sequential(OrderedDict(features=features, flatten=nn.Flatten(), fc=linear))


@nets.add
def vgg11(
    *,
    channels: int,
    size: int,
    num_classes: int,
    norm: Literal["instance", "batch", "none"] = "instance",
) -> nn.Module:
    """VGG11 of DC, MTT and GLaD: a norm after each convolution, one linear layer (LADD's CAE).

    The last maps of images above 32 px are max-pooled to 7×7 (GLaD). The first convolution pads
    28 px images to 32. With 10 classes and a norm it has 9,231,114 parameters at 32 px and
    9,476,874 above.

    Raises:
        ValueError: The images are below 32 px, except 28 px.
    """
    side = 32 if size == 28 else size
    require_size(side, 32)
    layers: list[nn.Module] = []
    in_channels = channels
    for item in _VGG11:
        if isinstance(item, str):
            layers.append(nn.MaxPool2d(2))
            continue
        padding = 3 if size == 28 and not layers else 1
        layers.append(nn.Conv2d(in_channels, item, kernel_size=3, padding=padding))
        layers.extend(norm_layers(norm, item, side))
        layers.append(nn.ReLU(inplace=True))
        in_channels = item
    last_side = 1
    if side > 32:
        last_side = 7
        layers.append(nn.AdaptiveMaxPool2d(last_side))
    features = nn.Sequential(*layers)
    linear = nn.Linear(in_channels * last_side**2, num_classes)
    return nn.Sequential(OrderedDict(features=features, flatten=nn.Flatten(), classifier=linear))
