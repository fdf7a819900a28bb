"""Pictures as sixels: the graphics of DEC's terminals, which foot, mlterm and others draw.

A sixel is a column of six pixels of one colour, written as one character. A band of six lines is
drawn once for each colour in it (VT330/VT340 Programmer Reference, volume 2, chapter 14).
"""

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST_COLOURS = 256
_LINES_OF_A_BAND = 6
# The character of a sixel without any pixel. That of pixels 0 and 2 is 1 + 4 places behind it.
_FIRST_CHARACTER = 0x3F
# Shorter runs take no more characters without a count.
_SHORTEST_COUNTED_RUN = 4


def sixels(picture: "Image") -> str:
    """Return the control sequence that draws a picture, in at most 256 colours."""
    import numpy as np

    reduced = picture.convert("RGB").quantize(_MOST_COLOURS)
    colours = np.asarray(reduced.getpalette()).reshape(-1, 3)
    numbers = np.asarray(reduced)
    parts = [f'\x1bP0;1q"1;1;{reduced.width};{reduced.height}']
    # Levels of sixels are per cent.
    for number in np.unique(numbers):
        red, green, blue = np.rint(colours[number] * 100 / 255).astype(int)
        parts.append(f"#{number};2;{red};{green};{blue}")
    for top in range(0, reduced.height, _LINES_OF_A_BAND):
        band = numbers[top : top + _LINES_OF_A_BAND]
        places = 2 ** np.arange(len(band))[:, None]
        for number in np.unique(band):
            columns = ((band == number) * places).sum(0)
            parts.append(f"#{number}{_in_runs((columns + _FIRST_CHARACTER).tolist())}$")
        parts.append("-")
    return "".join(parts) + "\x1b\\"


def _in_runs(codes: list[int]) -> str:
    """Return characters, with a count where one of them is repeated."""
    parts = []
    for code, run in groupby(codes):
        length = sum(1 for _ in run)
        is_counted = length >= _SHORTEST_COUNTED_RUN
        parts.append(f"!{length}{chr(code)}" if is_counted else chr(code) * length)
    return "".join(parts)
