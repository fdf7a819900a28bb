"""The registry of networks: functions of channels, size and classes."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ddlabel.registry import Registry

nets: Registry[Callable[..., nn.Module]] = Registry("network")
