"""Small pictures on a terminal: kitty's and iTerm's protocols, sixels, half-blocks elsewhere."""

import base64
import fcntl
import io
import os
import shutil
import struct
import sys
import termios

from ddlabel.cli.sixel import sixels

_KITTY_CHUNK = 4096
_MOST_COLUMNS = 80
_UPPER_HALF = "▀"
# Terminals that draw sixels, by the beginning of TERM. Others can too, but do not say so there.
_WITH_SIXELS = ("foot", "mlterm", "contour", "yaft")
# Where a terminal does not tell its size in pixels.
_USUAL_PIXELS_OF_A_COLUMN = 10


def can_show() -> bool:
    """Return whether people look at a terminal: neither output is piped, and it has colours."""
    is_dumb = os.environ.get("TERM", "dumb") == "dumb" or "NO_COLOR" in os.environ
    return sys.stdout.isatty() and sys.stderr.isatty() and not is_dumb


def picture_text(png: bytes, *, columns: int | None = None) -> str:
    """Return a PNG file as a text that draws it on this terminal, as wide as `columns`.

    The protocol goes by the environment: terminals of kitty and Ghostty have kitty's, iTerm2 and
    WezTerm have iTerm's, and foot, mlterm, contour and yaft draw sixels. Other terminals get
    half-blocks in 24-bit colours.
    """
    if columns is None:
        columns = min(_MOST_COLUMNS, shutil.get_terminal_size().columns - 1)
    term = os.environ.get("TERM", "")
    program = os.environ.get("TERM_PROGRAM", "")
    if "kitty" in term or program == "ghostty":
        return _kitty(png, columns)
    if program in ("iTerm.app", "WezTerm"):
        return _iterm(png, columns)
    if term.startswith(_WITH_SIXELS):
        return _sixel(png, columns)
    return _half_blocks(png, columns)


def _kitty(png: bytes, columns: int) -> str:
    """Return the picture in the graphics protocol of kitty: PNG data in chunks of base64."""
    data = base64.standard_b64encode(png).decode()
    chunks = [data[start : start + _KITTY_CHUNK] for start in range(0, len(data), _KITTY_CHUNK)]
    parts = []
    for number, chunk in enumerate(chunks):
        settings = f"a=T,f=100,q=2,c={columns}," if number == 0 else ""
        has_more = int(number < len(chunks) - 1)
        parts.append(f"\x1b_G{settings}m={has_more};{chunk}\x1b\\")
    return "".join(parts)


def _iterm(png: bytes, columns: int) -> str:
    """Return the picture in the protocol of iTerm2."""
    data = base64.standard_b64encode(png).decode()
    return f"\x1b]1337;File=inline=1;size={len(png)};width={columns}:{data}\x07"


def _sixel(png: bytes, columns: int) -> str:
    """Return the picture as sixels, of the width that so many columns have in pixels."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    width = columns * _pixels_of_a_column()
    height = max(1, round(picture.height * width / picture.width))
    return sixels(picture.resize((width, height), Image.Resampling.LANCZOS))


def _pixels_of_a_column() -> int:
    """Return the width of a character in pixels."""
    try:
        # The answer has lines, columns, width and height (struct winsize of ioctl_tty).
        answer = fcntl.ioctl(sys.stdout, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return _USUAL_PIXELS_OF_A_COLUMN
    _, num_columns, width, _ = struct.unpack("HHHH", answer)
    return width // num_columns if width and num_columns else _USUAL_PIXELS_OF_A_COLUMN


def _half_blocks(png: bytes, columns: int) -> str:
    """Return the picture as lines of half-blocks: two pixels, one above the other, a character."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    num_lines = max(1, round(picture.height * columns / picture.width / 2))
    picture = picture.resize((columns, 2 * num_lines), Image.Resampling.LANCZOS)
    lines = []
    for line in range(num_lines):
        characters = []
        for column in range(columns):
            upper = picture.getpixel((column, 2 * line))
            lower = picture.getpixel((column, 2 * line + 1))
            assert isinstance(upper, tuple)
            assert isinstance(lower, tuple)
            colours = "38;2;{};{};{};48;2;{};{};{}".format(*upper, *lower)
            characters.append(f"\x1b[{colours}m{_UPPER_HALF}")
        lines.append("".join(characters) + "\x1b[0m")
    return "\n".join(lines)
