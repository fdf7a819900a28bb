"""Residual networks, torchvision's, fitted to small images."""

from __future__ import annotations

import torchvision
from torch import nn

from ddlabel.nets.registry import nets


@nets.named("resnet18-modified")
def resnet18_modified(*, channels: int, size: int, classes: int) -> nn.Module:  # noqa: ARG001 - any size fits
    """ResNet18 for small images: first convolution 3×3 at stride 1, no max-pooling (RDED, SRe2L, GIFT)."""
    net: nn.Module = torchvision.models.resnet18(num_classes=classes)
    net.conv1 = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return net
