"""The ConvNet of the dataset-distillation field, depths 1 to 6."""

from collections.abc import Callable

from torch import nn

from ddlabel.methods.nets.norms import Norm, norm_layers
from ddlabel.methods.nets.pooling import MeanPool2x2
from ddlabel.methods.nets.registry import nets

_DOC = """ConvNet-D{depth} of DC and MTT: {depth} times convolution, norm, ReLU, average pooling.

All the papers train ConvNets; RDED and GIFT with `norm=batch`. Convolutions are 3×3, poolings 2×2,
and one linear layer follows. The first convolution pads 28 px images to 32. ConvNet-D3 at 32 px
with 10 classes has 320,010 parameters.

Raises:
    ValueError: Pooling would leave nothing of the images, or the width is below 1.
"""


def _convnet_of_depth(depth: int) -> Callable[..., nn.Module]:
    def convnet(
        *, channels: int, size: int, num_classes: int, width: int = 128, norm: Norm = "instance"
    ) -> nn.Module:
        side = 32 if size == 28 else size
        last_side = side >> depth
        if last_side < 1:
            raise ValueError(
                f"{depth} poolings need at least {2**depth} px; take a shallower network"
            )
        if width < 1:
            raise ValueError(f"width is {width}: expected at least 1")
        layers: list[nn.Module] = []
        in_channels = channels
        padding = 3 if size == 28 else 1
        for block in range(depth):
            layers.append(nn.Conv2d(in_channels, width, kernel_size=3, padding=padding))
            layers.extend(norm_layers(norm, width, side >> block))
            layers.append(nn.ReLU(inplace=True))
            layers.append(MeanPool2x2())
            in_channels = width
            padding = 1
        layers.append(nn.Flatten())
        layers.append(nn.Linear(width * last_side**2, num_classes))
        return nn.Sequential(*layers)

    convnet.__doc__ = _DOC.format(depth=depth)
    return convnet


for _depth in range(1, 7):
    nets.named(f"convnet-d{_depth}")(_convnet_of_depth(_depth))
