"""Fixtures of the tests of files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from foreign_sources import Hostile, correlated, save_png
from format_samples import SUFFIXES, small, split

from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import Pixels


@pytest.fixture
def marker(tmp_path) -> Path:
    """The file that must not come into being; the code that would make it is shown to work."""
    path = tmp_path / "marker"
    pickle.loads(pickle.dumps(Hostile(path)))
    assert path.exists()
    path.unlink()
    return path


@pytest.fixture
def animals(tmp_path) -> Path:
    """Class folders with grey images of one number each; `ant` sorts after `Zebra`."""
    folder = tmp_path / "animals"
    for name, value in {
        "ant/b": 12,
        "ant/a": 11,
        "Zebra/x": 20,
        "bee/1": 31,
        "bee/10": 32,
        "bee/2": 33,
    }.items():
        save_png(folder / f"{name}.png", np.full((2, 3), value))
    return folder


@pytest.fixture
def real(tmp_path) -> Path:
    images = correlated()
    bundle = Bundle(
        classes=("a",),
        pixels=Pixels(space="unit", mean=(0.5,) * 3, std=(0.3,) * 3),
        images=images,
        hard_labels=np.zeros(len(images), np.int64),
    )
    formats.write(str(tmp_path / "real.safetensors"), bundle)
    return tmp_path / "real.safetensors"


@pytest.fixture(params=SUFFIXES)
def suffix(request) -> str:
    return request.param


@pytest.fixture
def path(tmp_path, suffix) -> str:
    """A bundle file of each format."""
    name = str(tmp_path / f"bundle{suffix}")
    formats.write(name, small())
    return name


@pytest.fixture
def parts(tmp_path):
    name = tmp_path / "x.safetensors"
    formats.write(str(name), small())
    return name, *split(name.read_bytes())
