"""Configuration files in TOML."""

from __future__ import annotations

from typing import Any

import pytest

from ddlabel.core.config_file import read_options
from ddlabel.core.errors import InvalidInputError, UsageError

TYPES: dict[str, Any] = {
    "loss": str,
    "epochs": int,
    "warm_up": float,
    "zca": bool,
    "ema": float | None,
    "stack": float | str,
    "op": tuple[str, ...],
}


@pytest.fixture
def read(tmp_path):
    """Read a text as the configuration file of `evaluate`."""

    def read_text(text: str) -> dict[str, Any]:
        file = tmp_path / "run.toml"
        file.write_text(text)
        return read_options(file, "evaluate", TYPES, ("loss",))

    return read_text


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("loss = 'ce'", "ce"),
        ("loss = ['ce', 'kl']", ["ce", "kl"]),
        ("epochs = 3", 3),
        ("warm-up = 3", 3.0),
        ("warm_up = 0.5", 0.5),
        ("zca = true", True),
        ("ema = 0.9", 0.9),
        ("stack = 'auto'", "auto"),
        ("stack = 4", 4.0),
        ("op = 'swap'", ["swap"]),
        ("op = ['swap', 'permute']", ["swap", "permute"]),
    ],
)
def test_value_has_the_type_of_its_option(read, line, value):
    options = read(line)
    assert list(options.values()) == [value]
    assert type(next(iter(options.values()))) is type(value)


def test_table_of_the_command_wins_over_the_top_level(read):
    text = "epochs = 1\nzca = true\n[evaluate]\nepochs = 2\n[relabel]\nepochs = 'other'\n"
    assert read(text) == {"epochs": 2, "zca": True}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("los = 'ce'", "'loss'"),
        ("AXES = 'ce'", "AXES"),
        ("epochs = 'many'", "epochs"),
        ("epochs = 1.5", "epochs"),
        ("epochs = true", "epochs"),
        ("warm-up = true", "warm_up"),
        ("zca = 1", "zca"),
        ("op = [1]", "op"),
        ("[evalute]\nepochs = 1", "'evaluate'"),
    ],
)
def test_mistake_is_refused_by_name(read, text, named):
    with pytest.raises(UsageError, match=named):
        read(text)


@pytest.mark.parametrize("content", [b"epochs = ", b"\xff\xfe"])
def test_file_that_is_not_toml_is_refused(tmp_path, content):
    file = tmp_path / "run.toml"
    file.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"run\.toml"):
        read_options(file, "evaluate", TYPES, ())


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"none\.toml"):
        read_options(tmp_path / "none.toml", "evaluate", TYPES, ())
