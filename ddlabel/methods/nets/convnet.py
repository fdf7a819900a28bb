"""The ConvNet of the dataset-distillation field, depths 1 to 6."""

from collections.abc import Callable
from typing import Literal

from torch import nn

from ddlabel.methods.nets.registry import nets

Norm = Literal["instance", "batch", "group", "layer", "none"]


def _of_depth(depth: int) -> Callable[..., nn.Module]:
    def make(
        *, channels: int, size: int, classes: int, width: int = 128, norm: Norm = "instance"
    ) -> nn.Module:
        """ConvNet: blocks of 3×3 convolution, norm, ReLU, 2×2 average pooling; then one linear layer (DC, DSA, MTT).

        28 px images are padded to 32 by the first convolution. ConvNet-D3 at 32 px with 10 classes has 320,010
        parameters. ValueError if pooling would leave nothing of the images, or the width is no width.
        """
        side = 32 if size == 28 else size
        if side >> depth < 1:
            raise ValueError(
                f"{depth} poolings need at least {2**depth} px; take a shallower network"
            )
        if width < 1:
            raise ValueError(f"width is {width}: expected at least 1")
        layers: list[nn.Module] = []
        for block in range(depth):
            padding = 3 if block == 0 and size == 28 else 1
            convolution = nn.Conv2d(channels if block == 0 else width, width, 3, padding=padding)
            layers += [
                convolution,
                *_norm(norm, width, side >> block),
                nn.ReLU(inplace=True),
                nn.AvgPool2d(2),
            ]
        return nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(width * (side >> depth) ** 2, classes)
        )

    make.__doc__ = (make.__doc__ or "").replace("blocks of", f"{depth} blocks of", 1)
    return make


for _depth in range(1, 7):
    nets.named(f"convnet-d{_depth}")(_of_depth(_depth))


def _norm(norm: Norm, width: int, side: int) -> list[nn.Module]:
    layers: dict[Norm, Callable[[], list[nn.Module]]] = {
        "instance": lambda: [nn.GroupNorm(width, width)],
        "batch": lambda: [nn.BatchNorm2d(width)],
        "group": lambda: [nn.GroupNorm(4, width)],
        "layer": lambda: [nn.LayerNorm([width, side, side])],
        "none": list,
    }
    return layers[norm]()
