"""What an importer finds: images and labels, before they become a bundle; and what importers have in common."""

from __future__ import annotations

import lzma
import math
import struct
import tarfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddlabel.config import ImportOptions
from ddlabel.errors import InvalidInputError, UsageError
from ddlabel.header import Space

Array = NDArray[Any]
_MAX_CLASSES = 1 << 16
# What zipfile, tarfile, gzip, Pillow and numpy raise when they meet a damaged or foreign file.
DAMAGED = (
    *(OSError, EOFError, ValueError, TypeError, ArithmeticError, LookupError, RuntimeError, SyntaxError),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Images [N, C, H, W] as uint8 or in float32 unit space, hard labels [N], and soft labels [N, K] if there are.

    Soft labels are float16 or float32.
    """

    images: Array
    hard_labels: Array
    classes: tuple[str, ...]
    soft_labels: Array | None = None
    label_space: Space = "logits"


def numbered(classes: int) -> tuple[str, ...]:
    """Names for classes that have none: "0", "1", "2" and so on.

    Raises:
        InvalidInputError: for more than 65,536, which no header holds.
    """
    if classes > _MAX_CLASSES:
        raise InvalidInputError(f"the labels go up to {classes - 1}: at most {_MAX_CLASSES} classes can be told apart")
    return tuple(str(number) for number in range(classes))


def grey_to_chw(images: Array) -> Array:
    """Images [N, H, W], [N, H, W, C] or [N, C, H, W] as [N, C, H, W]; C is 1 or 3."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images


def is_archive(test: Callable[[Path], bool], path: Path) -> bool:
    """Whether `zipfile.is_zipfile` or `tarfile.is_tarfile` knows a file; a damaged one can make them fail."""
    try:
        return test(path)
    except DAMAGED:
        return False


def given_statistics(options: ImportOptions, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std [C] of the options, if they are there; one number stands for every channel.

    Raises:
        UsageError: if one of the two is missing, or they are not finite numbers, one a channel, std above 0.
    """
    if options.mean is None and options.std is None:
        return None
    if options.mean is None or options.std is None:
        raise UsageError("--mean and --std belong together: give both or neither")
    mean, std = _numbers("--mean", options.mean, channels), _numbers("--std", options.std, channels)
    if min(std) <= 0 or max(std) > 1 or min(mean) < 0 or max(mean) > 1:
        given = f"--mean {options.mean} and --std {options.std}"
        raise UsageError(
            f"{given}: expected numbers in unit space, 0 to 1 and std above 0 (divide those of 0 … 255 by 255)"
        )
    return mean, std


def _numbers(flag: str, text: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    values = values * count if len(values) == 1 else values
    if len(values) != count or not all(map(math.isfinite, values)):
        raise UsageError(f"{flag} is {text!r}: expected {count} comma-separated numbers, one a channel, or one for all")
    return values
