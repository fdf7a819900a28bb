"""`--class-names` and `--class-order`: what a class is called and what its number is."""

from __future__ import annotations

import numpy as np
import pytest
from foreign_sources import UINT8, load, save_npz, save_png

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.data import formats, importers


def folders(tmp_path, **values):
    """Class folders with one grey image of each value."""
    for name, value in values.items():
        save_png(tmp_path / "x" / name / "1.png", np.full((2, 2), value))
    return tmp_path / "x"


def notes_of(path, **options):
    notes = []
    importers.load([path], ImportOptions(**options), notes.append)
    return "\n".join(notes)


def test_reordered_folders_keep_their_images(tmp_path):
    """The folder `ape` is 20 and `cat` is 60, whatever their numbers are."""
    path = folders(tmp_path, ape=20, cat=60)
    bundle = load(path, class_order="cat,ape")
    value_of = dict(
        zip(bundle.hard_labels.tolist(), bundle.images[:, 0, 0, 0].tolist(), strict=True)
    )
    assert bundle.classes == ("cat", "ape")
    assert value_of == {0: 60, 1: 20}
    assert "the order of the source was ape, cat" in notes_of(path, class_order="cat,ape")


def test_named_folders_cannot_be_renamed_by_an_import(tmp_path):
    path = folders(tmp_path, ape=20, cat=60)
    with pytest.raises(UsageError, match="use --class-order cat,ape"):
        load(path, class_names="cat,ape")
    with pytest.raises(UsageError, match="ddlabel edit"):
        load(path, class_names="monkey,cat")
    assert load(path, class_names="ape,cat").classes == ("ape", "cat")


@pytest.mark.parametrize("order", ["cat", "cat,ape,bee", "cat,bee", "cat,cat", "", "ape,"])
def test_an_order_that_is_no_permutation_is_refused(tmp_path, order):
    with pytest.raises(UsageError, match="--class-order"):
        load(folders(tmp_path, ape=20, cat=60), class_order=order)


@pytest.mark.parametrize("form", ["new{:03}", "{:05}", "class{:03}", "{}"])
def test_numbered_folders_get_the_name_of_their_number(tmp_path, form):
    """Number 1 has no image: the third name is that of number 2 all the same."""
    values = {form.format(number): number * 10 for number in (2, 0, 11)}
    path = folders(tmp_path, **values)
    names = [f"name {number}" for number in range(12)]
    bundle = load(path, class_names=",".join(names))
    assert bundle.classes == tuple(names)
    assert bundle.hard_labels.tolist() == [0, 2, 11]
    assert bundle.images[:, 0, 0, 0].tolist() == [0, 20, 110]
    with pytest.raises(UsageError, match=r"11 names.*from 0 to 11"):
        load(path, class_names=",".join(names[:11]))


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("n01440764", "n02102040"), "wnids"),
        (("new000", "new001"), "numbers of SRe2L"),
        (("00000", "00001"), "numbers of RDED"),
    ],
)
def test_the_kind_of_class_names_is_said(tmp_path, names, kind):
    assert kind in notes_of(folders(tmp_path, **dict.fromkeys(names, 1)))


def test_wnids_are_names(tmp_path):
    with pytest.raises(UsageError, match="--class-names"):
        load(folders(tmp_path, n01440764=1, n02102040=2), class_names="tench,springer")


def test_numbers_of_arrays_are_named_and_reordered_at_once(tmp_path):
    path = save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]))
    bundle = load(path, class_names="ape,bee,cat", class_order="cat,ape,bee")
    assert bundle.classes == ("cat", "ape", "bee")
    assert bundle.hard_labels.tolist() == [1, 0]
    np.testing.assert_allclose(bundle.soft.values, [[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]], rtol=1e-6)


def test_a_list_can_be_a_file_or_a_bundle(tmp_path):
    path = folders(tmp_path, ape=20, cat=60)
    lines = tmp_path / "order.txt"
    lines.write_text("cat\n\nape\n")
    assert load(path, class_order=str(lines)).classes == ("cat", "ape")
    lines.write_text("cat, ape")
    bundle = load(path, class_order=str(lines))
    assert bundle.classes == ("cat", "ape")
    formats.write(str(tmp_path / "other.h5"), bundle)
    assert load(path, class_order=str(tmp_path / "other.h5")).classes == ("cat", "ape")
    assert load(path, class_order=bundle).classes == ("cat", "ape")


@pytest.mark.parametrize(
    ("content", "name"), [(b"", "x.txt"), (b"\xff\xfe", "x.txt"), (None, "y.txt")]
)
def test_a_file_without_names_is_refused(tmp_path, content, name):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=name):
        load(folders(tmp_path, ape=20, cat=60), class_order=str(tmp_path / name))


def test_a_list_of_a_thousand_names_is_no_path(tmp_path):
    path = save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([999, 0]))
    names = [
        f"a class with a long name, number {number}".replace(",", "") for number in range(1000)
    ]
    assert load(path, class_names=",".join(names)).classes == tuple(names)
