"""The layers of foreign weights: their names and shapes."""

from collections.abc import Mapping
from typing import NamedTuple

STATISTICS = ("running_mean", "running_var")
# The shape of each layer, by its name.
Shapes = Mapping[str, tuple[int, ...]]


class Layer(NamedTuple):
    """A parameter or buffer of a network: its name and shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def role(self) -> str:
        """The last part of the name, such as `weight`."""
        return self.name.rpartition(".")[2]


class Found(NamedTuple):
    """The layers of foreign weights. They have names, or are in module order, or both.

    Without names they are parameters alone, as in a replay buffer.
    """

    layers: list[Layer]
    has_names: bool = True
    in_order: bool = True

    @property
    def channels(self) -> tuple[int, ...]:
        """The channels that the images may have: those of the first convolution if it has them."""
        widths = [layer.shape[1] for layer in self.layers if len(layer.shape) == 4]
        return (widths[0],) if widths and widths[0] in (1, 3) else (3, 1)

    @property
    def has_statistics(self) -> bool:
        """Whether there are running means and variances of batch norms."""
        return any(layer.role in STATISTICS for layer in self.layers)

    @property
    def num_outputs(self) -> int:
        """The number of outputs of the last layer; 0 if that is not clear."""
        shape = self.layers[-1].shape if self.layers else ()
        return shape[0] if shape and self.in_order else 0
