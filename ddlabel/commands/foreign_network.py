"""Which network foreign weights are of: its spec, classes, images and normalisation."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, Self

from ddlabel.commands.inputs import check_one_standard_input, open_bundle
from ddlabel.core.config import ImportExpertOptions, ImportOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.core.normalisation import MEASURED, conventions
from ddlabel.data.bundle import Bundle, check_same_task
from ddlabel.data.class_lists import read_class_list
from ddlabel.data.foreign_weights import Experts, Weights
from ddlabel.data.importers.pixels import given_statistics
from ddlabel.data.statistics import statistics
from ddlabel.methods.nets.layers import Found, Layer
from ddlabel.methods.nets.matching import SIZES, Fit, all_specs, fitting

# The number of classes of ImageNet, whose weights torchvision and timm publish.
_IMAGENET_CLASSES = 1000
# The field's networks pad images of 28 px to 32: the weights of both are the same. Grey images of
# 28 px are MNIST's and Fashion-MNIST's.
_PADDED_SIZES = [28, 32]
_SHOWN_FITS = 3
_SHOWN_CLASSES = 20
Statistics = tuple[tuple[float, ...], tuple[float, ...]]


class Bundles(NamedTuple):
    """The bundles that are given with foreign weights, all of the same classes and shape."""

    test: Bundle | None
    real: Bundle | None
    zca: Bundle | None

    @classmethod
    def open(cls, options: ImportExpertOptions) -> Self:
        """Read them.

        Raises:
            InvalidInputError: A bundle cannot be read.
            IncompatibleError: They have different classes or shapes.
        """
        paths = {"--test": options.test, "--real": options.real, "--zca-from": options.zca_from}
        check_one_standard_input(list(paths.values()))
        opened = {
            flag: None if path is None else open_bundle(path).bundle for flag, path in paths.items()
        }
        there = [(flag, bundle) for flag, bundle in opened.items() if bundle is not None]
        for flag, bundle in there[1:]:
            check_same_task(f"the bundle of {flag}", there[0][1], bundle)
        return cls(*opened.values())

    @property
    def first(self) -> Bundle | None:
        """One of them, if there is one."""
        return next((bundle for bundle in self if bundle is not None), None)


@dataclass(frozen=True, kw_only=True)
class ForeignNetwork:
    """The network of foreign weights.

    Attributes:
        fit: Its spec, its images, and which weight belongs to which layer.
        classes: The classes in the order of its outputs.
        mean: Mean [C] that it normalises with.
        std: Deviation [C] that it normalises with.
        notes: What was found out, for people.
    """

    fit: Fit
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, experts: Experts, bundles: Bundles, options: ImportExpertOptions) -> Self:
        """Find it by the options and by the shapes of the weights.

        Raises:
            UsageError: The classes, the size or the normalisation is not given and not clear.
            IncompatibleError: The weights fit no network, or have another number of classes.
        """
        weights = [each for checkpoints in experts.values() for each in checkpoints]
        found = _found(weights[0])
        for other in weights[1:]:
            _check_same_layers(weights[0], found, other)
        classes = _classes(bundles, options)
        fits = _fits(weights[0].name, found, classes, bundles, options)
        fit = fits[0]
        (mean, std), how = _normalisation(fit, classes, bundles, options)
        notes = [_network_note(fits, found, options), how, _classes_note(classes)]
        return cls(fit=fit, classes=classes, mean=mean, std=std, notes=tuple(notes))


def _found(weights: Weights) -> Found:
    layers = [Layer(name, tuple(tensor.shape)) for name, tensor in weights.tensors.items()]
    return Found(layers, has_names=weights.has_names, in_order=weights.in_order)


def _check_same_layers(first: Weights, found: Found, other: Weights) -> None:
    """Check that weights have the same layers as the first ones."""
    layers = _found(other).layers
    if layers == found.layers:
        return
    pairs = zip(found.layers, layers, strict=False)
    differing = next((pair for pair in pairs if pair[0] != pair[1]), None)
    difference = f"it has {len(layers)} tensors and not {len(found.layers)}"
    if differing is not None:
        ours, theirs = differing
        difference = f"{theirs.name} {list(theirs.shape)} for {ours.name} {list(ours.shape)}"
    raise IncompatibleError(f"{other.name} is of another network than {first.name}: {difference}")


def _classes(bundles: Bundles, options: ImportExpertOptions) -> tuple[str, ...]:
    """Return the classes in the order of the outputs."""
    if options.class_names is not None:
        classes = read_class_list("--class-names", options.class_names).classes
    elif bundles.real is not None:
        classes = bundles.real.classes
    else:
        raise UsageError(
            "the weights do not name their classes: add --class-names with the names in the order "
            "of the outputs, or a bundle that has this order"
        )
    if bundles.first is not None and bundles.first.classes != classes:
        if sorted(bundles.first.classes) == sorted(classes):
            raise IncompatibleError(
                "the bundles have the classes of --class-names in another order: reorder them with "
                "'ddlabel edit --class-order'"
            )
        raise IncompatibleError("the bundles have other classes than --class-names")
    return classes


def _fits(
    name: str,
    found: Found,
    classes: Sequence[str],
    bundles: Bundles,
    options: ImportExpertOptions,
) -> list[Fit]:
    """Return the networks that fit the weights, those for images of the likeliest size first.

    Raises:
        UsageError: Images of several sizes fit, and none is the likeliest.
        IncompatibleError: No network fits, or the bundles have images of another size.
    """
    size = options.size
    if size is None and bundles.first is not None:
        size = bundles.first.side
    sizes = SIZES if size is None else (size,)
    specs = all_specs(found) if options.net is None else [options.net]
    try:
        fits = fitting(found, specs, sizes, len(classes))
    except IncompatibleError as error:
        _check_num_classes(name, found, specs, sizes, classes)
        tried = "" if len(sizes) == 1 else f" (tried: {sizes[0]} to {sizes[-1]} px; or add --size)"
        timm = " (a model of timm: --net timm:NAME)" if options.net is None else ""
        raise IncompatibleError(f"{name}: {error}{tried}{timm}") from error
    found_sizes = sorted({fit.size for fit in fits})
    if found_sizes == _PADDED_SIZES:
        likeliest = _PADDED_SIZES[0 if fits[0].channels == 1 else 1]
        fits.sort(key=lambda fit: fit.size != likeliest)
    elif len(found_sizes) > 1:
        listed = ", ".join(map(str, found_sizes))
        raise UsageError(
            f"{name}: the weights fit {fits[0].spec} for images of several sizes ({listed} px): "
            "add --size"
        )
    if bundles.first is not None:
        _check_shape(bundles.first, fits[0])
    return fits


def _check_num_classes(
    name: str, found: Found, specs: Sequence[str], sizes: Sequence[int], classes: Sequence[str]
) -> None:
    """Raise IncompatibleError if the weights fit a network of another number of classes."""
    fits: list[Fit] = []
    if found.num_outputs not in (0, len(classes)):
        with suppress(IncompatibleError, UsageError):
            fits = fitting(found, specs, sizes, found.num_outputs)
    if fits:
        raise IncompatibleError(
            f"{name}: the weights are of {fits[0].spec} with {found.num_outputs} classes, and "
            f"{len(classes)} classes are named"
        )


def _check_shape(bundle: Bundle, fit: Fit) -> None:
    shape = bundle.images.shape[1:]
    expected = (fit.channels, fit.size, fit.size)
    if shape != expected:
        raise IncompatibleError(
            f"the bundles have images {list(shape)} (C, H, W): the weights are of a network for "
            f"{list(expected)}"
        )


def _normalisation(
    fit: Fit, classes: Sequence[str], bundles: Bundles, options: ImportExpertOptions
) -> tuple[Statistics, str]:
    """Return mean and std, and how the images are normalised in words."""
    if bundles.zca is not None:
        pixels = bundles.zca.pixels
        return (pixels.mean, pixels.std), "images: whitened by ZCA (--zca-from)"
    if options.normalise == MEASURED and bundles.real is not None:
        measured = statistics(bundles.real.images)
        return measured, f"images: normalised as measured in --real: {_shown(measured)}"
    settings = ImportOptions(normalise=options.normalise, mean=options.mean, std=options.std)
    given = given_statistics(settings, fit.channels)
    if given is not None:
        name = options.normalise or "--mean and --std"
        return given, f"images: normalised by {name}: {_shown(given)}"
    is_published = fit.spec.startswith(("torchvision-", "timm:"))
    if is_published and len(classes) == _IMAGENET_CLASSES:
        imagenet = conventions["imagenet"].of_channels(fit.channels)
        return imagenet, "images: normalised by imagenet, as 1000 classes suggest (--normalise)"
    raise UsageError(
        "the weights do not say how their images were normalised: add --normalise "
        "('ddlabel list normalisations'), --mean and --std, or --zca-from"
    )


def _shown(values: Statistics) -> str:
    texts = ["/".join(f"{number:g}" for number in numbers) for numbers in values]
    return f"mean {texts[0]}, std {texts[1]}"


def _network_note(fits: Sequence[Fit], found: Found, options: ImportExpertOptions) -> str:
    """Return which network the weights are of, and how this was found out."""
    return "; ".join(_network_notes(fits, found, options))


def _network_notes(
    fits: Sequence[Fit], found: Found, options: ImportExpertOptions
) -> Iterator[str]:
    fit = fits[0]
    source = "--net" if options.net is not None else "by the shapes of the weights"
    yield f"network: {fit.spec} for images of {fit.channels} × {fit.size} × {fit.size} ({source})"
    others = [other.spec for other in fits[1:] if other.size == fit.size][:_SHOWN_FITS]
    if others:
        yield f"{', '.join(others)} would fit too (--net)"
    other_sizes = sorted({other.size for other in fits} - {fit.size})
    if other_sizes:
        yield f"images of {other_sizes[0]} px would fit too (--size)"
    if found.has_names and not fit.is_exact:
        yield "its layers have other names: weights are taken in their order"


def _classes_note(classes: Sequence[str]) -> str:
    """Return the classes in their order, which is often wrong."""
    shown = enumerate(classes[:_SHOWN_CLASSES])
    names = ", ".join(f"{number} {name}" for number, name in shown)
    rest = len(classes) - _SHOWN_CLASSES
    more = f", … {rest} more" if rest > 0 else ""
    return f"classes in the order of its outputs: {names}{more}"
