"""How the kind of a source is detected, said and refused."""

from __future__ import annotations

import numpy as np
import pytest
from foreign_sources import UINT8, cifar10, load, save_npz, save_png

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.data import importers
from ddlabel.data.importers.registry import Certainty, Choice, Found, Importer, choose

HARD = np.array([0, 1])


def notes_of(path, **options) -> list[str]:
    notes: list[str] = []
    importers.load([path], ImportOptions(**options), notes.append)
    return notes


def kind(*, what: str, certainty: Certainty, missing: str = "") -> Importer:
    """An importer that sees the same in every source."""
    return Importer(
        load=lambda paths, options: pytest.fail("nothing is read while a kind is chosen"),
        recognise=lambda paths: Found(what, certainty, missing),
        options=frozenset(),
        most_paths=1,
    )


@pytest.fixture
def only(monkeypatch):
    """Set the importers that there are."""

    def set_them(**kinds: Importer) -> None:
        for name in list(importers.importers):
            monkeypatch.delitem(importers.importers, name)
        for name, importer in kinds.items():
            monkeypatch.setitem(importers.importers, name, importer)

    return set_them


def test_the_kind_that_was_found_is_said_first(tmp_path):
    path = save_npz(tmp_path / "x.npz", x=UINT8, y=HARD)
    assert notes_of(path)[0] == f"{path}: a NumPy archive (--format npz)"
    assert not any("--format" in note for note in notes_of(path, format="npz"))


def test_a_mark_of_one_kind_decides_over_kinds_that_could_read_it_too(tmp_path, only):
    only(
        plain=kind(what="an archive", certainty=Certainty.NAME),
        special=kind(what="a result file", certainty=Certainty.MARK),
    )
    chosen = choose([tmp_path], "auto")
    assert chosen == Choice("special", Found("a result file", Certainty.MARK))


@pytest.mark.parametrize("high", [Certainty.CONTENT, Certainty.MARK])
def test_two_readings_are_refused_and_the_likeliest_comes_first(tmp_path, only, high):
    low = Certainty.NAME if high == Certainty.CONTENT else high
    only(
        plain=kind(what="an archive", certainty=low),
        special=kind(what="a result file", certainty=high),
    )
    with pytest.raises(InvalidInputError, match="choose one") as caught:
        choose([tmp_path], "auto")
    first = "special" if high == Certainty.CONTENT else "plain"
    options = [word.rstrip("):,") for word in str(caught.value).split("--format ")[1:]]
    assert options[0].split(")")[0] == first
    assert len(options) == 2


def test_what_is_missing_for_the_nearest_kind_is_said(tmp_path, only):
    only(special=kind(what="a result file", certainty=Certainty.MARK, missing="its sets"))
    with pytest.raises(InvalidInputError, match="a result file without its sets"):
        choose([tmp_path], "auto")


def test_a_misspelt_format_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'folder'"):
        choose([], "foldr")


def test_real_sources_that_two_importers_could_read_name_both(animals):
    for name, content in cifar10().items():
        (animals / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"--format cifar\), or .*--format folder"):
        load(animals)


def test_images_without_class_folders_are_described(tmp_path):
    save_png(tmp_path / "x" / "1.png", np.zeros((2, 2)))
    with pytest.raises(InvalidInputError, match="one image without class folders"):
        load(tmp_path / "x")
