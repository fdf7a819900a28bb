"""The last linear layer of a network, which computes in float32 where others are autocast."""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Float32Linear(nn.Linear):
    """A linear layer that computes in the precision of its weights inside `torch.autocast` too.

    Bfloat16 has three digits: logits of 10 would be rounded by up to 0.03.
    """

    @classmethod
    def like(cls, layer: nn.Linear) -> Self:
        """Return a layer with the parameters of `layer` themselves, not copies of them."""
        has_bias = layer.bias is not None
        new = cls(layer.in_features, layer.out_features, bias=has_bias, device="meta")
        new.weight = layer.weight
        new.bias = layer.bias
        return new

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits [..., K] of features [..., D]."""
        device = features.device.type
        # Devices that only follow shapes know no autocast.
        if not torch.amp.is_autocast_available(device):
            return super().forward(features)
        with torch.autocast(device, enabled=False):
            return F.linear(features.to(self.weight.dtype), self.weight, self.bias)


def keep_last_layer_in_float32(network: nn.Module) -> None:
    """Let the last linear layer of a network, which gives its logits, compute in float32.

    The names of its weights stay. A network without linear layers stays as it is. Of a network
    of timm with several heads, the last one changes.
    """
    layers = [
        (name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear)
    ]
    if layers:
        name, last = layers[-1]
        network.set_submodule(name, Float32Linear.like(last))
