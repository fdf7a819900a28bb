"""Ways in which the pixels of a bundle may have to be read, and how to mend each mistake."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ddlabel.commands.doctor.case import Case, Expert
from ddlabel.commands.doctor.import_again import (
    as_imported,
    import_again,
    normalised_by,
    numbers,
    per_channel,
)
from ddlabel.core.normalisation import conventions
from ddlabel.data.labels import Array


class Reading(NamedTuple):
    """A way to read pixels: its name, the function to unit space, and how to mend the bundle."""

    name: str
    to_unit: Callable[[Array], Array]
    commands: tuple[str, ...]


def readings(case: Case, expert: Expert | None = None) -> Iterator[Reading]:
    """Yield the ways in which the pixels of a bundle may have to be read."""
    if case.bundle.pixels.space == "unit":
        yield from _normalised_readings(case, expert)
        as_bytes = import_again(case, pixels="uint8")
        yield Reading("numbers of 0 … 255", lambda images: images / 255, as_bytes)
        again = case.rewrite(images="b.images * 255")
        yield Reading("numbers that were divided by 255 twice", lambda images: images * 255, again)
    yield from _layout_readings(case)


def _normalised_readings(case: Case, expert: Expert | None) -> Iterator[Reading]:
    """Yield a reading for every normalisation: those of the field, the header and the expert."""
    num_channels = case.bundle.images.shape[1]
    yield Reading("in unit space", partial(as_imported, case), import_again(case, pixels="unit"))
    for convention in conventions.values():
        name = convention.name
        if len(convention.mean) in (1, num_channels) and name != "none":
            again = import_again(case, pixels="normalised", normalise=name)
            undo = partial(_undo, case, *convention.of_channels(num_channels))
            yield Reading(f"normalised by {name}", undo, again)
    own: dict[str, tuple[Sequence[float], Sequence[float]]] = {
        "the header's": (case.bundle.pixels.mean, case.bundle.pixels.std)
    }
    if expert is not None:
        own["the expert's"] = (expert.mean, expert.std)
    for whose, (mean, std) in own.items():
        shown = f"mean {numbers(mean)} and std {numbers(std)}"
        again = import_again(case, pixels="normalised", **normalised_by(mean, std))
        yield Reading(f"normalised by {whose} {shown}", partial(_undo, case, mean, std), again)


def _undo(case: Case, mean: Sequence[float], std: Sequence[float], images: Array) -> Array:
    """Return images in unit space if their source was normalised by a mean and a deviation."""
    return np.asarray(as_imported(case, images) * per_channel(std) + per_channel(mean))


def _layout_readings(case: Case) -> Iterator[Reading]:
    """Yield the readings of mistakes of layout and of colour."""
    _, num_channels, height, width = case.bundle.images.shape
    white = 255 if case.bundle.pixels.space == "uint8" else 1
    if num_channels == 3:
        again = case.rewrite(images="b.images[:, ::-1].copy()")
        yield Reading("blue, green, red", lambda images: images[:, ::-1], again)
        shape = f"{height}, {width}, {num_channels}"
        again = case.rewrite(images=f"b.images.reshape(-1, {shape}).transpose(0, 3, 1, 2).copy()")
        yield Reading("rows, columns, channels (NHWC)", _from_channels_last, again)
    again = case.rewrite(images="b.images.swapaxes(2, 3).copy()")
    yield Reading("columns before rows", lambda images: images.swapaxes(2, 3), again)
    again = case.rewrite(images=f"{white} - b.images")
    yield Reading("inverted", lambda images: 1 - images, again)


def _from_channels_last(images: Array) -> Array:
    """Return images [n, C, H, W] whose numbers are in the order [n, H, W, C]."""
    _, num_channels, height, width = images.shape
    channels_last = images.reshape(-1, height, width, num_channels)
    return channels_last.transpose(0, 3, 1, 2)
