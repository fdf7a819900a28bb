"""Pixels of KIP and RaT-BPTT: whitened by a convention of their own, or normalised."""

from collections.abc import Callable
from functools import partial

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import UsageError
from ddlabel.data import formats, layer_norm_zca
from ddlabel.data.importers.pixels import to_unit
from ddlabel.data.labels import Array
from ddlabel.data.schema import require

# Their images have lost what the whitening began with.
NOTE = (
    "note: the whitening was undone with {real}; each image's own brightness and contrast, which "
    "it takes away, are the means of these images"
)


def converter(*, standardise: bool) -> Callable[[str, Array, ImportOptions], Array]:
    """Return what brings images [N, C, H, W] to unit space, where `zca` is their own whitening.

    With `standardise` the channels were normalised before the whitening.
    """
    return partial(_convert, standardise=standardise)


def notes(options: ImportOptions) -> tuple[str, ...]:
    """Return the note of what undoing the whitening cannot bring back."""
    return (NOTE.format(real=options.zca_from),) if options.pixels == "zca" else ()


def _convert(name: str, images: Array, options: ImportOptions, *, standardise: bool) -> Array:
    if options.pixels is None:
        raise UsageError(
            f"{name}: its pixels are whitened, most likely: add --pixels zca --zca-from REAL, a "
            "bundle of the real training images; or --pixels normalised with --mean and --std"
        )
    if options.pixels != "zca":
        return to_unit(name, images, options)
    assert options.zca_from is not None  # `load` has checked that the options go together
    real = formats.read(options.zca_from).images
    shape = list(images.shape[1:])
    expected = list(real.shape[1:])
    require(
        shape == expected,
        f"{name}: images {shape} (C, H, W): expected {expected}, as in {options.zca_from}",
    )
    return layer_norm_zca.undo(images, layer_norm_zca.fit(real, standardise=standardise))
