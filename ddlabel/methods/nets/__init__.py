"""Networks by name, and the first layer that takes pixels in unit space."""

import torch
from torch import nn

from ddlabel.core.registry import as_usage_error
from ddlabel.methods.nets import convnet, plain, resnet, timm, transformer  # noqa: F401 - they register their networks
from ddlabel.methods.nets.prepare import Prepare
from ddlabel.methods.nets.registry import nets


class Network(nn.Sequential):
    """`prepare` (normalisation or whitening of unit pixels, fixed) and `body` (all that is learned).

    They are two because the field's augmentations work on normalised pixels: training augments in between.
    """

    def __init__(self, prepare: Prepare, body: nn.Module) -> None:
        super().__init__()
        self.prepare = prepare
        self.body = body


def build(
    spec: str, prepare: Prepare, *, channels: int, size: int, classes: int, seed: int
) -> Network:
    """The network of a spec for images [C, size, size] of K classes, its weights drawn from `seed`.

    UsageError for an unknown spec or a network that does not fit the images.
    """
    make = nets.resolve(spec)
    # Layers draw their weights from torch's global generator: lend it a seed, and give it back as it was.
    with (
        torch.random.fork_rng(devices=[]),
        as_usage_error(f"network {spec!r} cannot be built for {size} px"),
    ):
        torch.default_generator.manual_seed(seed)
        body = make(channels=channels, size=size, classes=classes)
    return Network(prepare, body)
