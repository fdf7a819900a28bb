"""The registry of networks, and helpers that fit torchvision's networks to other images.

A name without a prefix is a network that the field's public code defines: DC, MTT and GLaD, or RDED
(`-modified`). `torchvision-NAME` is torchvision's, `timm:NAME` timm's.

A network is `net(*, channels, size, num_classes, options) -> nn.Module` for images [B, channels,
size, size] that returns logits [B, num_classes]. It raises ValueError if it does not fit the
images.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from torch import nn

from ddlabel.core.registry import Registry

# Whether a network of torchvision is unmodified or fitted to small images.
Stem = Literal["original", "small"]
_TIMM = "timm:"


class Networks(Registry[Callable[..., nn.Module]]):
    """Networks by name. The text after `timm:` is a name in timm, without options."""

    def resolve(self, spec: str) -> Callable[..., nn.Module]:
        """Return the function that a spec names, with the options of the spec set.

        Raises:
            UsageError: The network or one of its options is unknown, or a value has another type.
        """
        spec = spec.strip()
        if spec.startswith(_TIMM):
            return partial(self.get("timm:NAME"), name=spec.removeprefix(_TIMM))
        return super().resolve(spec)


nets = Networks("network")


def torchvision_models() -> Any:
    """Return the module of torchvision's networks. Its import takes as long as that of torch."""
    from torchvision import models

    return models


def require_size(size: int, minimum: int, otherwise: str = "") -> None:
    """Refuse images of which the layers of a network would leave nothing.

    `otherwise` says what else the user can do.

    Raises:
        ValueError: `size` is below `minimum`, both in pixels.
    """
    if size < minimum:
        raise ValueError(f"it needs at least {minimum} px {otherwise}".rstrip())


def with_stem(net: nn.Module, channels: int, **geometry: int) -> nn.Module:
    """Replace the first convolution of `net` by one for `channels` channels and another geometry.

    `geometry` may have kernel_size, stride and padding. The new convolution is initialised as
    PyTorch initialises any. If nothing is to change, the network stays as it is.
    """
    convolutions = [
        (name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d)
    ]
    name, old = convolutions[0]
    if channels == old.in_channels and not geometry:
        return net
    stem = nn.Conv2d(
        channels,
        old.out_channels,
        kernel_size=geometry.get("kernel_size", old.kernel_size),  # type: ignore[arg-type]
        stride=geometry.get("stride", old.stride),  # type: ignore[arg-type]
        padding=geometry.get("padding", old.padding),  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    net.set_submodule(name, stem)
    return net
