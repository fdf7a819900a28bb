"""What the layers of a network are, where that decides how fast it runs."""

from torch import nn


def normalises_maps(network: nn.Module) -> bool:
    """Return whether a network has group, instance or layer norms over maps [C, H, W]."""
    return any(_is_norm_of_maps(layer) for layer in network.modules())


def _is_norm_of_maps(layer: nn.Module) -> bool:
    is_layer_norm = isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) == 3
    return is_layer_norm or isinstance(layer, nn.GroupNorm | nn.InstanceNorm2d)


def has_depthwise_convolutions(network: nn.Module) -> bool:
    """Return whether a network has convolutions of each channel by itself, as MobileNet has."""
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    return any(layer.groups == layer.in_channels > 1 for layer in convolutions)


def has_max_pooling(network: nn.Module) -> bool:
    """Return whether a network takes maxima of neighbouring pixels."""
    return any(isinstance(layer, nn.MaxPool2d) for layer in network.modules())
