"""Which network of the registry fits foreign weights, and which weight belongs to which layer."""

import difflib
import inspect
import typing
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch

from ddlabel.core.errors import IncompatibleError
from ddlabel.core.registry import as_usage_error
from ddlabel.methods.nets.layers import STATISTICS, Found, Layer, Shapes
from ddlabel.methods.nets.registry import nets

# The sides of the field's images, in pixels.
SIZES = (28, 32, 64, 96, 128, 224, 256)
# Sides of images at which every network of the registry has its number of layers.
_PROBED_SIZES = (32, 64)
# The number of updates of a batch norm, which decides no output.
_COUNTER = "num_batches_tracked"
_SHOWN_LAYERS = 3


class Fit(NamedTuple):
    """A network that fits foreign weights, and the images that it takes.

    `names` has for each of its parameters and buffers the name of the foreign weight. `is_exact`:
    the names are the same.
    """

    spec: str
    channels: int
    size: int
    names: dict[str, str]
    is_exact: bool


def fitting(
    found: Found, specs: Sequence[str], sizes: Sequence[int], num_classes: int
) -> list[Fit]:
    """Return the networks that fit the weights: those of equal names first, else in the order.

    Raises:
        IncompatibleError: None of them fits. The message names the nearest and the layers that
            differ.
        UsageError: A network is unknown, or none can be built for the images.
    """
    built = []
    fits = []
    for spec in _of_equal_length(found, specs, sizes, num_classes):
        for network in _built(spec, found.channels, sizes, num_classes):
            built.append(network)
            names = match(network.layers, found)
            if names is not None:
                is_exact = found.has_names and all(ours == theirs for ours, theirs in names.items())
                fits.append(Fit(spec, network.channels, network.size, names, is_exact))
    if not built:
        make = nets.resolve(specs[0])
        with as_usage_error(f"network {specs[0]!r} cannot be built for {sizes[0]} px"):
            make(channels=found.channels[0], size=sizes[0], num_classes=num_classes)
    if not fits:
        raise IncompatibleError(_misfit(found, built))
    return sorted(fits, key=lambda fit: not fit.is_exact)


def _of_equal_length(
    found: Found, specs: Sequence[str], sizes: Sequence[int], num_classes: int
) -> list[str]:
    """Return the specs whose networks have as many layers as the weights; all if none has."""
    probed = sizes if len(sizes) == 1 else _PROBED_SIZES
    num_layers = len(_compared(found.layers, found))
    equal = []
    for spec in specs:
        for network in _built(spec, found.channels[:1], probed, num_classes):
            if len(_compared(network.layers, found)) == num_layers:
                equal.append(spec)
                break
    return equal or list(specs)


def match(layers: Sequence[Layer], found: Found) -> dict[str, str] | None:
    """Return the name of the foreign weight of each layer of a network; None if they do not fit.

    Weights belong together by their names. If the names are others, all belong together in module
    order, provided that shapes and roles (`weight`, `running_mean`, …) are the same throughout.
    """
    expected = [layer for layer in layers if layer.role != _COUNTER]
    given = [layer for layer in found.layers if layer.role != _COUNTER]
    if found.has_names and sorted(expected) == sorted(given):
        return {layer.name: layer.name for layer in expected}
    if len(expected) != len(given) or not found.in_order:
        return None
    names = {}
    for ours, theirs in zip(expected, given, strict=True):
        has_role = not found.has_names or _same_role(ours.role, theirs.role)
        if ours.shape != theirs.shape or not has_role:
            return None
        names[ours.name] = theirs.name
    return names


def all_specs(found: Found) -> list[str]:
    """Return a spec of every network of the registry with each choice of its norm and stem.

    A ConvNet gets the width of the weights. timm's networks are left out.
    """
    width = next((layer.shape[0] for layer in found.layers if len(layer.shape) == 4), 0)
    specs = []
    for name, function in nets.items():
        if ":" in name:
            continue
        settings = [""]
        parameters = inspect.signature(function, eval_str=True).parameters
        for option in ("norm", "stem"):
            if option in parameters:
                default = parameters[option].default
                choices = typing.get_args(parameters[option].annotation)
                # `auto` is the field's choice.
                if default != "auto":
                    settings += [f"{option}={choice}" for choice in choices if choice != default]
        if name.startswith("convnet") and width not in (0, parameters["width"].default):
            settings = [f"{setting},width={width}".strip(",") for setting in settings]
        specs += [f"{name}:{setting}" if setting else name for setting in settings]
    return specs


def _same_role(ours: str, theirs: str) -> bool:
    """Return whether two roles are the same; parameters of a module itself have names of their own.

    Such are the positions and class tokens of transformers.
    """
    known = ("weight", "bias", *STATISTICS)
    return ours == theirs or not (ours in known or theirs in known)


class _Built(NamedTuple):
    """The layers of a network for images of one shape."""

    spec: str
    channels: int
    size: int
    layers: list[Layer]

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"{self.spec} for images of {self.channels} × {self.size} × {self.size}"


def _built(
    spec: str, channels: Sequence[int], sizes: Sequence[int], num_classes: int
) -> Iterator[_Built]:
    """Yield a network for all images that it takes, without drawing its weights."""
    for size in sizes:
        for number in channels:
            layers = _layers_of(spec, number, size, num_classes)
            if layers is not None:
                yield _Built(spec, number, size, layers)


@lru_cache(maxsize=1024)  # a network is asked for its layers up to three times
def _layers_of(spec: str, channels: int, size: int, num_classes: int) -> list[Layer] | None:
    """Return the layers of a network; None if it does not take the images."""
    make = nets.resolve(spec)
    # Some of timm's networks read numbers of their tensors, which have none on the device meta.
    device = "cpu" if spec.startswith("timm:") else "meta"
    try:
        with torch.device(device):
            body = make(channels=channels, size=size, num_classes=num_classes)
    except ValueError:
        return None
    return [Layer(name, tuple(tensor.shape)) for name, tensor in body.state_dict().items()]


def _compared(layers: Sequence[Layer], found: Found) -> list[Layer]:
    """Return the layers that are compared with the weights, which may have no running statistics.

    The missing statistics of a network of equal parameters are the better message.
    """
    left_out = (_COUNTER,) if found.has_statistics else (_COUNTER, *STATISTICS)
    return [layer for layer in layers if layer.role not in left_out]


def _misfit(found: Found, built: Sequence[_Built]) -> str:
    """Return why none of these networks fits: the nearest one, and the first layers that differ."""
    given = _compared(found.layers, found)

    def likeness(network: _Built) -> float:
        return _matcher(_compared(network.layers, found), given).quick_ratio()

    nearest = max(built, key=likeness)
    what = f"the weights fit no network; the nearest is {nearest.name}"
    if len({network.spec for network in built}) == 1:
        what = f"the weights do not fit {nearest.name}"
    expected = _compared(nearest.layers, found)
    has_equal_shapes = [layer.shape for layer in expected] == [layer.shape for layer in given]
    if has_equal_shapes and len(expected) < len(nearest.layers):
        return (
            f"{nearest.name} has batch norm, and the weights have no running statistics "
            "(running_mean, running_var), without which it cannot label: save the whole "
            "state_dict()"
        )
    ours, theirs = dict(expected), dict(given)
    if found.has_names and (ours.keys() <= theirs.keys() or theirs.keys() <= ours.keys()):
        differences = list(_differences_by_name(ours, theirs))
    else:
        differences = list(_differences(expected, given)) or _other_roles(expected, given)
    if not found.in_order:
        differences = _other_names(expected, given) or differences
    num_more = len(differences) - _SHOWN_LAYERS
    more = f"; and {num_more} more" if num_more > 0 else ""
    shown = "; ".join(differences[:_SHOWN_LAYERS])
    return f"{what}: {shown}{more}"


def _differences_by_name(ours: Shapes, theirs: Shapes) -> Iterator[str]:
    """Yield each layer that differs from the one of its name, in module order."""
    for name in {**ours, **theirs}:
        if name not in theirs:
            yield f"{name} {list(ours[name])} is missing"
        elif name not in ours:
            yield f"{name} {list(theirs[name])} has no place in it"
        elif theirs[name] != ours[name]:
            yield f"{name} is {list(theirs[name])}, expected {list(ours[name])}"


def _other_roles(expected: Sequence[Layer], given: Sequence[Layer]) -> list[str]:
    """Return each layer of the right shape whose name says that it is something else."""
    pairs = zip(expected, given, strict=True)
    return [
        f"{theirs.name} is in the place of {ours.name}"
        for ours, theirs in pairs
        if not _same_role(ours.role, theirs.role)
    ]


def _other_names(expected: Sequence[Layer], given: Sequence[Layer]) -> list[str]:
    """Return each name that the network does not have; without an order, names must be equal."""
    known = {layer.name for layer in expected}
    reason = "has no place in it, and a .safetensors file has no order to go by"
    return [f"{layer.name} {reason}" for layer in given if layer.name not in known]


def _matcher(
    expected: Sequence[Layer], given: Sequence[Layer]
) -> "difflib.SequenceMatcher[tuple[int, ...]]":
    before = [layer.shape for layer in expected]
    after = [layer.shape for layer in given]
    return difflib.SequenceMatcher(None, before, after, autojunk=False)


def _differences(expected: Sequence[Layer], given: Sequence[Layer]) -> Iterator[str]:
    """Yield each layer that differs, in module order."""
    for kind, start, end, other_start, other_end in _matcher(expected, given).get_opcodes():
        if kind == "equal":
            continue
        ours = list(expected[start:end])
        theirs = list(given[other_start:other_end])
        for layer, other in zip(ours, theirs, strict=False):
            yield f"{other.name} is {list(other.shape)}, expected {list(layer.shape)}"
        yield from (f"{layer.name} {list(layer.shape)} is missing" for layer in ours[len(theirs) :])
        for layer in theirs[len(ours) :]:
            yield f"{layer.name} {list(layer.shape)} has no place in it"
