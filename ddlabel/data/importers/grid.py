"""A grid of images in one picture, as DC and MTT save them with torchvision's `save_image`."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Registry
from ddlabel.data.importers.images import Member, decode, read_file
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.source import Source
from ddlabel.data.labels import Array
from ddlabel.data.schema import require

_SUFFIXES = (".png", ".jpg", ".jpeg")
_MAGICS = (b"\x89PNG", b"\xff\xd8\xff")
_EXAMPLE = "--grid rows=10,cols=10,pad=2"
_LARGEST_PAD = 16


class _Layout(NamedTuple):
    """Rows and columns of a grid, and the pixels between and around its images."""

    rows: int
    cols: int
    pad: int
    ipc: int
    images: int


_layouts: Registry[Callable[..., _Layout]] = Registry("layout")


@_layouts.named("grid")
def _layout(
    *, rows: int = 10, cols: int = 10, pad: int = 2, ipc: int = 0, images: int = 0
) -> _Layout:
    """Return the layout of a grid: row by row, sorted by class, a row for each class by default."""
    cells = rows * cols
    layout = _Layout(rows, cols, pad, ipc or cols, images or cells)
    if min(layout) < 0 or 0 in (rows, cols) or layout.images > cells:
        raise UsageError(
            f"--grid rows={rows},cols={cols},pad={pad},images={images}: expected at least one row "
            "and column, and at most as many images as cells"
        )
    if layout.images % layout.ipc:
        raise UsageError(
            f"--grid: {layout.images} images with ipc={layout.ipc} of each class are no whole "
            "classes: give another ipc"
        )
    return layout


def _recognise(paths: Sequence[Path]) -> Found | None:
    """Find one picture."""
    path = paths[0]
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return None
    with path.open("rb") as file:
        is_picture = file.read(4).startswith(_MAGICS)
    return Found("one picture, with a grid of images", Certainty.CONTENT) if is_picture else None


@importers.add("grid", recognise=_recognise, options={"grid"})
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """One picture with a grid of images, sorted by class; `--grid` says how they lie.

    Raises:
        UsageError: There is no `--grid`, or the picture cannot be such a grid.
        InvalidInputError: The picture cannot be read.
        UnsafeInputError: It has too many pixels.
    """
    path = paths[0]
    require(_recognise(paths), f"{path}: not one picture: expected a PNG or JPEG file")
    if options.grid is None:
        raise UsageError(
            f"{path}: one picture: say how the images in it lie, such as {_EXAMPLE}; images in "
            "files of their own are a folder with one folder for each class"
        )
    layout = _layouts.resolve(f"grid:{options.grid}")()
    member = Member(path, partial(read_file, path), str(path))
    picture = decode(member, options)
    images, lines = _cut(str(path), picture, layout)
    _check_lines(str(path), lines, is_exact=path.suffix.lower() == ".png")
    if "images=" not in options.grid:
        _check_blank(str(path), images)
    images = images[: layout.images]
    notes: tuple[str, ...] = ()
    is_grey = images.shape[1] == 3 and bool((images == images[:, :1]).all())
    if is_grey and not options.rgb:
        images = np.ascontiguousarray(images[:, :1])
        notes = ("note: its three channels are equal: one is kept (--rgb keeps three)",)
    hard = np.arange(layout.images) // layout.ipc
    classes = tuple(str(number) for number in range(layout.images // layout.ipc))
    return Source(images, hard, classes, notes=notes)


def _cut(name: str, picture: Array, layout: _Layout) -> tuple[Array, Array]:
    """Cut a picture [C, H, W] into images [rows·cols, C, h, w] and the pixels [C, n] between."""
    channels, height, width = picture.shape
    tall = _cell_side(height, layout.rows, layout.pad)
    wide = _cell_side(width, layout.cols, layout.pad)
    if tall is None or wide is None:
        raise UsageError(
            f"{name}: {width} × {height} px cannot be rows={layout.rows}, cols={layout.cols}, "
            f"pad={layout.pad}: {_fitting_pads(height, width, layout)}"
        )
    pad = layout.pad
    # Each cell with the padding above and left of it; the last padding stands alone.
    cells = picture[:, : height - pad, : width - pad]
    cells = cells.reshape(channels, layout.rows, tall + pad, layout.cols, wide + pad)
    cells = cells.transpose(1, 3, 0, 2, 4).reshape(-1, channels, tall + pad, wide + pad)
    is_line = np.zeros((height, width), bool)
    for number in range(pad):
        is_line[number :: tall + pad] = True
        is_line[:, number :: wide + pad] = True
    return np.ascontiguousarray(cells[:, :, pad:, pad:]), picture[:, is_line]


def _cell_side(side: int, count: int, pad: int) -> int | None:
    """Return the side of an image where `count` of them fill a side; None if they do not."""
    cell, rest = divmod(side - pad, count)
    return cell - pad if rest == 0 and cell > pad else None


def _fitting_pads(height: int, width: int, layout: _Layout) -> str:
    fits = []
    for pad in range(_LARGEST_PAD + 1):
        tall = _cell_side(height, layout.rows, pad)
        wide = _cell_side(width, layout.cols, pad)
        if tall is not None and tall == wide:
            fits.append(f"pad={pad} for images of {tall} px")
    if fits:
        return f"{' or '.join(fits)} would fit"
    common = math.gcd(height, width)
    return f"no pad fits; count the rows and columns again (both sides are multiples of {common})"


def _check_lines(name: str, lines: Array, *, is_exact: bool) -> None:
    """Check that the pixels [C, n] between the images have one colour, where no JPEG blurs them."""
    if is_exact and lines.size and (lines != lines[:, :1]).any():
        raise UsageError(
            f"{name}: the lines between the images are not of one colour: --grid does not say "
            "where the images lie"
        )


def _check_blank(name: str, images: Array) -> None:
    """Refuse cells of one colour at the end, which are no images."""
    flat = images.reshape(len(images), -1)
    num_blank = 0
    while num_blank < len(flat) and np.ptp(flat[-1 - num_blank]) == 0:
        num_blank += 1
    if num_blank:
        raise UsageError(
            f"{name}: the last {num_blank} cells are blank: say in --grid how many images there "
            f"are, such as images={len(flat) - num_blank}"
        )
