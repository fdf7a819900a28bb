"""Networks by name, each behind a fixed first layer that takes pixels in unit space."""

import torch
from torch import nn

from ddlabel.core.registry import as_usage_error

# Each module registers its networks, in the order in which `ddlabel list nets` shows them.
# isort: off
from ddlabel.methods.nets import (  # noqa: F401
    convnet,
    alexnet_vgg,
    resnet,
    vit,
    torchvision_convolutional,
    torchvision_transformers,
    timm,
)

# isort: on
from ddlabel.methods.nets.last_layer import keep_last_layer_in_float32
from ddlabel.methods.nets.prepare import Prepare
from ddlabel.methods.nets.registry import nets


class Network(nn.Sequential):
    """A network in two parts: `prepare` normalises or whitens unit pixels, `body` is learned.

    They are separate because the field's augmentations work on normalised pixels: training augments
    the images in between.
    """

    def __init__(self, prepare: Prepare, body: nn.Module) -> None:
        super().__init__()
        self.prepare = prepare
        self.body = body


def build(
    spec: str, prepare: Prepare, *, channels: int, size: int, num_classes: int, seed: int
) -> Network:
    """Build the network of a spec for images [C, size, size], with weights drawn from `seed`.

    Its last linear layer computes in float32 in bf16 and fp16 too.

    Raises:
        UsageError: The spec is unknown, or the network does not fit the images.
    """
    make = nets.resolve(spec)
    # Layers draw their weights from torch's global generator: seed it, and restore it afterwards.
    with (
        torch.random.fork_rng(devices=[]),
        as_usage_error(f"network {spec!r} cannot be built for {size} px"),
    ):
        torch.default_generator.manual_seed(seed)
        body = make(channels=channels, size=size, num_classes=num_classes)
    keep_last_layer_in_float32(body)
    return Network(prepare, body)
