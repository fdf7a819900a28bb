"""The pixel space of bare arrays: images in any space that the options state, in unit space."""

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import UsageError
from ddlabel.core.normalisation import MEASURED, conventions
from ddlabel.data import formats, whitening
from ddlabel.data.labels import Array
from ddlabel.data.schema import require

# Learned pixels in unit space leave 0 … 1 by less than this, and normalised ones by far.
_BELOW_BLACK = -0.5
_ABOVE_WHITE = 2


def to_unit(name: str, images: Array, options: ImportOptions) -> Array:
    """Return images [N, C, H, W] as uint8, or as float32 in unit space.

    Bytes are uint8. The space of other numbers has to be stated with `options.pixels`.

    Raises:
        UsageError: The space is not stated, or another option does not go with it.
        InvalidInputError: The numbers cannot be in the space that is stated.
    """
    low = float(images.min())
    high = float(images.max())
    values = f"{low:.3g} … {high:.3g}"
    is_bytes = images.dtype == np.uint8
    space = options.pixels or ("uint8" if is_bytes else None)
    if space is None:
        advice = _likely_spaces(low, high)
        raise UsageError(f"{name}: pixels in {values}, of a space that is not stated: {advice}")
    if space == "uint8":
        in_range = low >= 0 and high <= 255
        require(in_range, f"{name}: pixels in {values} are not uint8: expected 0 … 255")
        return images if is_bytes else np.rint(images).astype(np.uint8)
    if is_bytes:
        raise UsageError(f"{name}: its pixels are bytes and cannot be {space}: use --pixels uint8")
    images = images.astype(np.float32, copy=False)
    if space == "normalised":
        return _undo_normalisation(images, options)
    if space == "zca":
        return _undo_whitening(name, images, options)
    # Learned pixels leave 0 … 1 by a little, normalised ones by far.
    require(
        low >= -1 and high <= 2,
        f"{name}: pixels in {values} are too far from 0 … 1 for --pixels unit: "
        "use normalised, zca or uint8",
    )
    return images


def _likely_spaces(low: float, high: float) -> str:
    """Return the advice to state a space, the likeliest first, for pixels from `low` to `high`."""
    if low < _BELOW_BLACK:
        return (
            "add --pixels normalised with --normalise (likelier: they reach far below 0; if the "
            "convention is not known, give any: 'ddlabel doctor' on the bundle finds the right "
            "one), or zca with --zca-from if they are whitened, or unit"
        )
    if high > _ABOVE_WHITE:
        return "add --pixels uint8 (likelier: they reach far above 1), normalised or zca"
    return "add --pixels unit (likelier: they are about 0 … 1), normalised or zca"


def _undo_normalisation(images: Array, options: ImportOptions) -> Array:
    if options.normalise in (MEASURED, "none"):
        raise UsageError(
            f"--pixels normalised --normalise {options.normalise}: name the numbers that the "
            "pixels were normalised with: a convention ('ddlabel list normalisations'), or --mean "
            "and --std"
        )
    given = given_statistics(options, images.shape[1])
    assert given is not None  # `load` has checked that the options go together
    mean, std = (np.array(values, np.float32).reshape(1, -1, 1, 1) for values in given)
    unit = images * std
    unit += mean
    return unit


def _undo_whitening(name: str, images: Array, options: ImportOptions) -> Array:
    assert options.zca_from is not None  # `load` has checked that the options go together
    real = formats.read(options.zca_from).images
    shape = images.shape[1:]
    expected = real.shape[1:]
    require(
        shape == expected,
        f"{name}: images {list(shape)} (C, H, W): expected {list(expected)}, as in "
        f"{options.zca_from}",
    )
    mean, matrix = whitening.fit(real)
    return whitening.undo(images, mean, matrix)


def given_statistics(
    options: ImportOptions, num_channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean [C] and std [C] of the options, or None; one number stands for every channel.

    Of whitened images they are those of the real images that the whitening was fitted on.

    Raises:
        UsageError: They are not C numbers in unit space with std above 0.
    """
    if options.normalise is not None:
        is_measured = options.normalise == MEASURED
        return None if is_measured else conventions[options.normalise].of_channels(num_channels)
    if options.mean is None or options.std is None:  # one is never given without the other
        if options.zca_from is None:
            return None
        pixels = formats.read_header(options.zca_from).pixels
        times = num_channels // len(pixels.mean)
        return pixels.mean * times, pixels.std * times
    given = f"--mean {options.mean} and --std {options.std}"
    try:
        mean = _channel_numbers(options.mean, num_channels)
        std = _channel_numbers(options.std, num_channels)
    except ValueError:
        raise UsageError(
            f"{given}: expected {num_channels} numbers in each, with commas, or one for all"
        ) from None
    in_unit_space = all(0 <= value <= 1 for value in mean + std)
    if not in_unit_space or 0 in std:
        raise UsageError(
            f"{given}: expected 0 to 1 and std above 0, in unit space (divide those of 0 … 255 by "
            "255)"
        )
    return mean, std


def _channel_numbers(text: str, num_channels: int) -> tuple[float, ...]:
    """Read comma-separated numbers; ValueError if they are not one, or one for each channel."""
    numbers = np.array(text.split(","), float)
    return tuple(np.broadcast_to(numbers, num_channels).tolist())
