"""What fits torchvision's networks, made for three channels and 224 px, to other images."""

from typing import Any

from torch import nn


def at_least(size: int, pixels: int) -> None:
    """Refuse images of which the layers of a network would leave nothing.

    Raises:
        ValueError: if images are smaller than `pixels`.
    """
    if size < pixels:
        raise ValueError(f"it needs at least {pixels} px")


def with_stem(net: nn.Module, channels: int, **geometry: int) -> nn.Module:
    """`net` with a first convolution for `channels` channels and, where given, of another geometry.

    It stays as it is if nothing is to change; a new one is drawn as PyTorch draws any convolution.
    """
    name, old = next((name, part) for name, part in net.named_modules() if isinstance(part, nn.Conv2d))
    if channels == old.in_channels and not geometry:
        return net
    kept: dict[str, Any] = {key: getattr(old, key) for key in ("kernel_size", "stride", "padding")}
    net.set_submodule(name, nn.Conv2d(channels, old.out_channels, bias=old.bias is not None, **(kept | geometry)))
    return net
