"""Labels of the user's own on a bundle: files, shapes, orders and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from foreign_sources import Hostile, save_npz, save_pt
from label_samples import dense_bundle
from listener import Listener
from samples import make_bundle

import ddlabel
from ddlabel.core.errors import (
    IncompatibleError,
    InvalidInputError,
    UnsafeInputError,
    UsageError,
)
from ddlabel.data import formats

# Four images of the classes a, b, a, b; a row for each image.
HARD = [0, 1, 0, 1]
PROBS = np.array([[0.75, 0.25], [0.5, 0.5], [1, 0], [0.125, 0.875]], np.float32)
LOGITS = np.array([[2, -1], [0.5, 1], [3, 0], [-1, 4]], np.float32)


@pytest.fixture
def bundle():
    made = make_bundle(images=4, classes=2)
    return replace(made, classes=("a", "b"), soft=None)


def saved(folder, suffix: str, values: np.ndarray):
    """The same labels in a file of any kind."""
    path = folder / f"labels{suffix}"
    if suffix == ".npy":
        np.save(path, values)
    elif suffix == ".npz":
        save_npz(path, labels=values)
    elif suffix == ".pt":
        save_pt(path, torch.tensor(values, requires_grad=values.dtype.kind == "f"))
    else:
        np.savetxt(path, values, delimiter="," if suffix == ".csv" else " ")
    return str(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".txt", ".pt"])
class TestFiles:
    def test_soft_labels(self, tmp_path, bundle, suffix):
        labelled = ddlabel.import_labels(bundle, saved(tmp_path, suffix, LOGITS))
        assert labelled.soft.values.tolist() == LOGITS.tolist()
        assert labelled.soft.meta.space == "logits"
        assert labelled.hard_labels.tolist() == HARD

    def test_hard_labels(self, tmp_path, bundle, suffix):
        labelled = ddlabel.import_labels(bundle, saved(tmp_path, suffix, np.array([1, 1, 0, 0])))
        assert labelled.hard_labels.tolist() == [1, 1, 0, 0]
        assert labelled.history[-1].facts == {"hard_labels": "given"}


BAD_TABLES = {
    "another class": ("a,c\n" + "1,0\n" * 4, IncompatibleError, "'c' is none of the bundle's"),
    "a class twice": ("a,a\n" + "1,0\n" * 4, InvalidInputError, "one name"),
    "a text": ("a,b\n1,x\n" + "1,0\n" * 3, InvalidInputError, "row 0 has a text"),
    "a short row": ("1,0\n1\n1,0\n1,0\n", InvalidInputError, "row 1 has 1 columns"),
    "nothing": ("", InvalidInputError, "empty"),
    "names alone": ("a,b\n", InvalidInputError, "no row"),
    "an image twice": ("index,label\n0,0\n0,1\n1,0\n2,1\n", InvalidInputError, "each one once"),
    "NaN": ("1,nan\n" + "1,0\n" * 3, InvalidInputError, "finite"),
    "two columns of classes": ("label,target\n" + "1,0\n" * 4, InvalidInputError, "the same"),
    "an unknown name": ("a\nb\na\ncat\n", IncompatibleError, "'cat' is none"),
}


class TestTables:
    def test_columns_with_class_names_are_put_in_the_order_of_the_classes(self, tmp_path, bundle):
        rows = "\n".join(f"{b},{a}" for a, b in PROBS.tolist())
        (tmp_path / "x.csv").write_text(f"b,a\n{rows}\n")
        labelled = ddlabel.import_labels(bundle, tmp_path / "x.csv")
        assert labelled.soft.values.tolist() == PROBS.tolist()

    def test_rows_with_the_number_of_their_image_are_put_in_order(self, tmp_path, bundle):
        rows = [f"{i},{HARD[i]},{PROBS[i, 0]},{PROBS[i, 1]}" for i in (2, 0, 3, 1)]
        (tmp_path / "x.csv").write_text("\n".join(["index,label,a,b", *rows]))
        labelled = ddlabel.import_labels(bundle, tmp_path / "x.csv")
        assert labelled.soft.values.tolist() == PROBS.tolist()
        assert labelled.hard_labels.tolist() == HARD

    def test_the_table_of_an_exported_folder_suits_its_bundle_and_an_import_of_it(self, tmp_path):
        """The import sorts the images: the classes change their order, and the rows theirs."""
        bundle = replace(make_bundle(images=5, classes=3), classes=("cow", "ant", "-bee"))
        ddlabel.export(bundle, tmp_path / "pics", format="folder")
        said = Listener()
        back = ddlabel.import_images(tmp_path / "pics", reporter=said)
        assert any("import-labels OUT" in note and "labels.csv" in note for note in said.notes)
        assert back.classes == ("-bee", "ant", "cow")
        table = tmp_path / "pics" / "labels.csv"
        for of in (bundle, back):
            labelled = ddlabel.import_labels(of, table)
            assert np.array_equal(labelled.hard_labels, of.hard_labels)
            for row, image in enumerate(bundle.images):
                (place,) = (of.images == image).all((1, 2, 3)).nonzero()[0]
                columns = [of.classes.index(name) for name in bundle.classes]
                expected = bundle.soft.probs()[row]
                assert np.allclose(labelled.soft.values[place, columns], expected, atol=1e-6)
        with pytest.raises(IncompatibleError, match="take out the column file"):
            ddlabel.import_labels(bundle.take(np.array([1, 0, 2, 3, 4])), table)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("label,target\n" + "0,0\n" * 4, "columns label, target mean"),
            ("class,label\n" + "a,0\nb,0\n" * 2, "columns class, label do not agree"),
        ],
    )
    def test_columns_that_mean_the_same_are_named(self, tmp_path, bundle, text, message):
        (tmp_path / "x.csv").write_text(text)
        with pytest.raises(InvalidInputError, match=message):
            ddlabel.import_labels(bundle, tmp_path / "x.csv")

    def test_classes_may_be_named(self, tmp_path, bundle):
        (tmp_path / "x.txt").write_text("b\nb\na\na\n")
        assert ddlabel.import_labels(bundle, tmp_path / "x.txt").hard_labels.tolist() == [
            1,
            1,
            0,
            0,
        ]

    @pytest.mark.parametrize("bad", BAD_TABLES)
    def test_tables_without_meaning_are_refused(self, tmp_path, bundle, bad):
        text, error, message = BAD_TABLES[bad]
        (tmp_path / "x.csv").write_text(text)
        with pytest.raises(error, match=message):
            ddlabel.import_labels(bundle, tmp_path / "x.csv")


class TestSpaces:
    def test_distributions_are_probs(self, tmp_path, bundle):
        labelled = ddlabel.import_labels(bundle, saved(tmp_path, ".npy", PROBS))
        assert labelled.soft.meta.space == "probs"

    def test_a_space_that_is_not_clear_has_to_be_stated(self, tmp_path, bundle):
        path = saved(tmp_path, ".npy", PROBS * 3)
        with pytest.raises(UsageError, match="--label-space logits"):
            ddlabel.import_labels(bundle, path)
        labelled = ddlabel.import_labels(bundle, path, label_space="logits", temperature=4)
        assert (labelled.soft.meta.space, labelled.soft.meta.temperature) == ("logits", 4)
        assert ddlabel.import_labels(bundle, path, label_space="mass").soft.meta.space == "mass"

    def test_probabilities_that_do_not_sum_to_1_are_refused(self, bundle):
        with pytest.raises(InvalidInputError, match=r"array: soft_labels, row 0.*sum to 1"):
            ddlabel.import_labels(bundle, PROBS * 3, label_space="probs")

    def test_a_temperature_is_of_logits(self, tmp_path, bundle):
        with pytest.raises(UsageError, match="--temperature"):
            ddlabel.import_labels(bundle, saved(tmp_path, ".npy", PROBS), temperature=2)


class TestArrays:
    @pytest.mark.parametrize("form", [np.asarray, torch.tensor, lambda x: x.tolist()])
    def test_arrays_and_tensors_are_taken_from_python(self, bundle, form):
        labelled = ddlabel.import_labels(bundle, form(LOGITS))
        assert labelled.soft.values.tolist() == LOGITS.tolist()
        (source,) = labelled.history[-1].inputs
        assert len(source.sha256) == 64

    @pytest.mark.parametrize("odd", [[[1], [1, 2]], [None] * 4, 3, {"a": 1}, [b"x"] * 4])
    def test_objects_that_are_no_labels_are_refused(self, bundle, odd):
        with pytest.raises(InvalidInputError, match="array"):
            ddlabel.import_labels(bundle, odd)

    def test_one_of_several_arrays_is_named(self, tmp_path, bundle):
        path = save_npz(tmp_path / "x.npz", first=LOGITS, second=PROBS)
        with pytest.raises(UsageError, match="--array first"):
            ddlabel.import_labels(bundle, path)
        labelled = ddlabel.import_labels(bundle, path, array="second")
        assert labelled.soft.values.tolist() == PROBS.tolist()
        with pytest.raises(UsageError, match="did you mean 'second'"):
            ddlabel.import_labels(bundle, path, array="secnd")

    def test_hard_and_soft_labels_of_one_file_are_both_taken(self, tmp_path, bundle):
        path = save_npz(tmp_path / "x.npz", soft_labels=PROBS, hard_labels=[1, 1, 0, 0])
        labelled = ddlabel.import_labels(bundle, path)
        assert labelled.hard_labels.tolist() == [1, 1, 0, 0]
        assert labelled.soft.values.tolist() == PROBS.tolist()

    def test_dense_labels_need_the_views_of_the_bundle(self, tmp_path, bundle):
        dense = dense_bundle(images=4, views=3, classes=2)
        values = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
        path = saved(tmp_path, ".npy", values)
        labelled = ddlabel.import_labels(dense, path)
        assert labelled.dense.values.tolist() == values.tolist()
        assert labelled.views.boxes.tolist() == dense.views.boxes.tolist()
        with pytest.raises(IncompatibleError, match="densify"):
            ddlabel.import_labels(bundle, path)
        with pytest.raises(IncompatibleError, match="2 views an image"):
            ddlabel.import_labels(dense, values[:, :2])


BAD_ARRAYS = {
    "another length": (PROBS[:3], IncompatibleError, "3 images, and the bundle has 4"),
    "another K": (np.eye(4)[:, :3] + 0, IncompatibleError, "3 classes"),
    "a class too large": (np.array([0, 1, 2, 0]), IncompatibleError, "class 2"),
    "a negative class": (np.array([0, 1, -1, 0]), InvalidInputError, "classes 0, 1, 2"),
    "halves": (np.array([0, 0.5, 1, 0]), InvalidInputError, "classes 0, 1, 2"),
    "NaN": (np.full((4, 2), np.nan), InvalidInputError, "finite"),
    "four axes": (np.zeros((4, 1, 1, 2)), InvalidInputError, r"\[4, 1, 1, 2\]"),
    "one number": (np.array(3), InvalidInputError, "expected hard labels"),
    "no images": (np.zeros((0, 2)), InvalidInputError, "expected hard labels"),
    "text": (np.array(["a", "b", "a", "b"]), InvalidInputError, "real numbers"),
    "infinity": (np.array([[1e39, 0.0]] * 4), InvalidInputError, "finite"),
}


class TestRefusals:
    @pytest.mark.parametrize("bad", BAD_ARRAYS)
    def test_labels_that_do_not_fit_are_refused(self, tmp_path, bundle, bad):
        values, error, message = BAD_ARRAYS[bad]
        np.save(tmp_path / "x.npy", values)
        with pytest.raises(error, match=message):
            ddlabel.import_labels(bundle, tmp_path / "x.npy")

    def test_code_is_unsafe_and_does_not_run(self, tmp_path, bundle):
        marker = tmp_path / "marker"
        save_pt(tmp_path / "x.pt", {"labels": Hostile(marker)})
        np.save(tmp_path / "x.npy", np.array([{}] * 4), allow_pickle=True)
        for name in ("x.pt", "x.npy"):
            with pytest.raises(UnsafeInputError):
                ddlabel.import_labels(bundle, tmp_path / name)
        assert not marker.exists()

    def test_a_missing_or_foreign_file_is_refused(self, tmp_path, bundle):
        with pytest.raises(InvalidInputError, match="no such file"):
            ddlabel.import_labels(bundle, tmp_path / "nothing.npy")
        (tmp_path / "x.json").write_text("[]")
        with pytest.raises(InvalidInputError, match=r"expected one of \.npy"):
            ddlabel.import_labels(bundle, tmp_path / "x.json")


class TestReport:
    def test_labels_of_another_order_are_warned_of(self, tmp_path):
        """Labels that never agree with the hard labels of ten classes."""
        bundle = make_bundle(images=20, classes=10)
        shifted = np.eye(10, dtype=np.float32)[(bundle.hard_labels + 1) % 10]
        said = Listener()
        ddlabel.import_labels(bundle, shifted, reporter=said)
        assert "another order" in said.warnings[0]
        ddlabel.import_labels(bundle, np.eye(10)[bundle.hard_labels], reporter=said)
        assert len(said.warnings) == 1

    def test_the_command_line_in_the_history_names_the_file_second(self, tmp_path, cli):
        formats.write("few.h5", make_bundle(images=4, classes=2))
        np.save("own.npy", LOGITS)
        cli("import-labels", "few.h5", "own.npy", "soft.h5")
        line = cli("info", "soft.h5").out.decode().splitlines()[-1].strip()
        assert line.startswith("ddlabel import-labels - own.npy -")


def test_numbers_that_begin_at_one_are_known(bundle):
    numbers = np.arange(len(bundle)) % bundle.num_classes + 1
    with pytest.raises(IncompatibleError, match="the numbers begin at 1: subtract 1 from all"):
        ddlabel.import_labels(bundle, numbers)
