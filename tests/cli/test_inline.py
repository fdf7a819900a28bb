"""Pictures on a terminal: the bytes of each protocol."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from ddlabel.cli import inline


def png(*rows: list[tuple[int, int, int]]) -> bytes:
    picture = Image.new("RGB", (len(rows[0]), len(rows)))
    picture.putdata([pixel for row in rows for pixel in row])
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


RED, BLUE = (255, 0, 0), (0, 0, 255)
SMALL = png([RED, BLUE], [BLUE, RED])


@pytest.fixture
def terminal(monkeypatch):
    def be(term: str = "xterm-256color", program: str = "") -> None:
        monkeypatch.setenv("TERM", term)
        monkeypatch.setenv("TERM_PROGRAM", program)

    be()
    return be


def test_half_blocks_have_the_upper_pixel_in_front_and_the_lower_one_behind(terminal):
    text = inline.picture_text(SMALL, columns=2)
    assert text == ("\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[38;2;0;0;255;48;2;255;0;0m▀\x1b[0m")


def test_kitty_gets_the_file_in_chunks(terminal, monkeypatch):
    terminal("xterm-kitty")
    monkeypatch.setattr(inline, "_KITTY_CHUNK", 40)
    text = inline.picture_text(SMALL, columns=9)
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert base64.b64decode("".join(data for _, data in chunks)) == SMALL
    assert chunks[0][0] == "a=T,f=100,q=2,c=9,m=1"
    assert chunks[-1][0] == "m=0"


@pytest.mark.parametrize("program", ["iTerm.app", "WezTerm"])
def test_iterm_gets_the_file(terminal, program):
    terminal(program=program)
    text = inline.picture_text(SMALL, columns=9)
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+);width=9:(.*)\x07", text)
    assert int(found[1]) == len(SMALL)
    assert base64.b64decode(found[2]) == SMALL


def drawn(text: str) -> Image.Image:
    """Draw sixels as a terminal does: a small decoder of its own, after DEC's description."""
    body = re.fullmatch(r'\x1bP0;1q"1;1;(\d+);(\d+)(.*)\x1b\\', text)
    picture = Image.new("RGB", (int(body[1]), int(body[2])))
    colours, colour, x, top = {}, (0, 0, 0), 0, 0
    tokens = r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|([$-])"
    for number, *levels, count, repeated, single, line in re.findall(tokens, body[3]):
        if number and levels[0]:
            colours[number] = tuple(round(int(level) * 2.55) for level in levels)
        elif number:
            colour = colours[number]
        elif line:
            x, top = 0, top + (6 if line == "-" else 0)
        else:
            run = int(count or 1)
            for bit in range(6):
                if (ord(repeated or single) - 63) >> bit & 1:
                    picture.paste(colour, (x, top + bit, x + run, top + bit + 1))
            x += run
    return picture


@pytest.mark.parametrize("term", ["foot", "mlterm-256color", "contour"])
def test_sixels_draw_the_picture(terminal, monkeypatch, term):
    terminal(term)
    monkeypatch.setattr(inline, "_pixels_of_a_column", lambda: 1)
    colours = [(10 * (x + y), 255 - 9 * x, 18 * y) for y in range(13) for x in range(11)]
    rows = [colours[11 * y : 11 * y + 11] for y in range(13)]
    picture = drawn(inline.picture_text(png(*rows), columns=11))
    # Levels are whole per cents: 1.3 of 255 at most, and rounding.
    assert np.abs(np.asarray(picture, dtype=int) - np.asarray(rows)).max() <= 2


def test_long_runs_of_sixels_have_a_count(terminal, monkeypatch):
    terminal("foot")
    monkeypatch.setattr(inline, "_pixels_of_a_column", lambda: 30)
    text = inline.picture_text(png([RED] * 4, [RED] * 4), columns=4)
    # 60 lines of 120 red pixels: ten bands of one run.
    assert text.count("!120~") == 10
    assert drawn(text).getcolors() == [(7200, RED)]


def test_a_picture_keeps_its_proportions(terminal):
    wide = png(*[[RED] * 8] * 4)
    assert inline.picture_text(wide, columns=8).count("\n") == 1


@pytest.mark.parametrize(
    ("outputs", "term", "expected"),
    [
        ((True, True), "xterm", True),
        ((False, True), "xterm", False),
        ((True, False), "xterm", False),
        ((True, True), "dumb", False),
    ],
)
def test_pictures_are_for_people_at_a_terminal(terminal, monkeypatch, outputs, term, expected):
    terminal(term)
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, is_terminal in zip(("stdout", "stderr"), outputs, strict=True):
        monkeypatch.setattr(f"sys.{name}.isatty", lambda value=is_terminal: value)
    assert inline.can_show() is expected


def test_piped_output_has_paths_alone(cli, digits):
    done = cli("show", "few.safetensors", "--figure", "contact-sheet")
    assert done.out == b"".join(
        b"few-figures/contact-sheet.%s\n" % suffix for suffix in (b"png", b"svg", b"csv")
    )
    assert b"\x1b" not in done.err
