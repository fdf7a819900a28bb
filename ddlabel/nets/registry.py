"""The registry of networks: functions of channels, size and classes."""

from collections.abc import Callable
from functools import partial

from torch import nn

from ddlabel.registry import Registry


class Networks(Registry[Callable[..., nn.Module]]):
    """Networks by name; what follows `timm:` is a name in timm and has no settings."""

    def resolve(self, spec: str) -> Callable[..., nn.Module]:
        """The function that a spec string names, with the options of the spec set."""
        if spec.strip().startswith("timm:"):
            return partial(self.get("timm:NAME"), name=spec.strip().removeprefix("timm:"))
        return super().resolve(spec)


nets = Networks("network")
