"""The registry of networks, functions of channels, size and classes; and what fits torchvision's to other images."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from ddlabel.core.registry import Registry


class Networks(Registry[Callable[..., nn.Module]]):
    """Networks by name; what follows `timm:` is a name in timm and has no settings."""

    def resolve(self, spec: str) -> Callable[..., nn.Module]:
        """The function that a spec string names, with the options of the spec set."""
        if spec.strip().startswith("timm:"):
            return partial(self.get("timm:NAME"), name=spec.strip().removeprefix("timm:"))
        return super().resolve(spec)


nets = Networks("network")


def at_least(size: int, pixels: int) -> None:
    """ValueError for images smaller than `pixels`, of which the layers of a network would leave nothing."""
    if size < pixels:
        raise ValueError(f"it needs at least {pixels} px")


def with_stem(net: nn.Module, channels: int, **geometry: int) -> nn.Module:
    """`net` with a first convolution for `channels` channels and, where given, of another geometry.

    It stays as it is if nothing is to change; a new one is drawn as PyTorch draws any convolution.
    """
    name, old = next(
        (name, part) for name, part in net.named_modules() if isinstance(part, nn.Conv2d)
    )
    if channels == old.in_channels and not geometry:
        return net
    kept: dict[str, Any] = {key: getattr(old, key) for key in ("kernel_size", "stride", "padding")}
    net.set_submodule(
        name, nn.Conv2d(channels, old.out_channels, bias=old.bias is not None, **(kept | geometry))
    )
    return net
