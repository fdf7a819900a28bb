"""Pictures on a terminal: the bytes of each protocol."""

from __future__ import annotations

import base64
import io
import re

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
