"""`--against`: options that only one side can use are that side's, and the result says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from listener import Listener
from students import easy_bundle
from view_samples import with_grid_views

import ddlabel
from ddlabel.commands.evaluate.cell import Cell
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle

QUICK = {
    "net": "convnet-d1:width=4",
    "epochs": 2,
    "augment": "none",
    "seeds": 2,
    "precision": "fp32",
}
TEST = easy_bundle(30, seed=4)
DENSE = with_grid_views(easy_bundle(9))
SOFT = replace(DENSE, dense=None, views=None)
FEW = replace(SOFT, soft=None)


def cell(bundle: Bundle, against: Bundle | None = None, **options) -> Cell:
    """The only cell of an evaluation."""
    (made,) = ddlabel.evaluate(bundle, test=TEST, against=against, **QUICK | options).cells
    return made


def keys(of: Cell) -> list[str]:
    return [record.key for record in of.records]


class TestSides:
    """The other side is what an evaluation of its bundle alone, with its options, would be."""

    def test_dense_with_soft_global_labels_against_soft(self):
        compared = cell(DENSE, SOFT, global_labels="soft", dense_batches="sum")
        assert keys(compared) == keys(cell(DENSE, global_labels="soft", dense_batches="sum"))
        assert keys(compared.against) == keys(cell(SOFT))

    def test_refined_with_cosine_against_soft_with_soft_ce(self):
        refined = ddlabel.refine(SOFT)
        compared = cell(refined, SOFT, loss="cosine", against_loss="soft-ce")
        assert keys(compared) == keys(cell(refined, loss="cosine"))
        assert keys(compared.against) == keys(cell(SOFT, loss="soft-ce"))

    @pytest.mark.parametrize("labels", ["dense", "soft"])
    def test_a_bundle_without_those_labels_has_its_richest(self, labels):
        compared = cell(DENSE, FEW, labels=labels)
        assert keys(compared.against) == keys(cell(FEW))
        assert compared.against.options.labels == "hard"

    def test_hard_labels_are_not_blended(self):
        compared = cell(SOFT, FEW, mix="cutmix")
        assert keys(compared) == keys(cell(SOFT, mix="cutmix"))
        assert keys(compared.against) == keys(cell(FEW))

    def test_views_without_soft_labels_fall_back_to_hard_global_labels(self):
        compared = cell(DENSE, replace(DENSE, soft=None), global_labels="soft")
        assert compared.against.options.global_labels == "hard"

    def test_the_loss_of_the_other_side_is_no_part_of_this_side(self):
        assert keys(cell(SOFT, FEW, against_loss="ce")) == keys(cell(SOFT))


class TestWords:
    def test_the_line_and_the_table_name_every_difference(self):
        evaluation = ddlabel.evaluate(
            DENSE, test=TEST, against=FEW, mix="cutmix", against_loss="ce", **QUICK
        )
        line = evaluation.lines()[-1]
        this, other = (bundle.digest[:8] for bundle in (DENSE, FEW))
        # Of labels that views need, the names of both sides say enough.
        first = f"this: {this}, dense and soft labels, loss=soft-ce, mix=cutmix"
        second = f"--against: {other}, hard labels, loss=ce, mix=none"
        assert f"{first}; {second}:" in line
        text = " ".join(str(evaluation).split())
        assert f"{first} {second}" in text

    def test_the_same_options_are_not_named(self):
        evaluation = ddlabel.evaluate(SOFT, test=TEST, against=FEW, **QUICK)
        other = FEW.digest[:8]
        assert f"soft labels; --against: {other}, hard labels:" in evaluation.lines()[-1]

    def test_one_bundle_with_two_losses_is_told_apart_by_them(self):
        evaluation = ddlabel.evaluate(SOFT, test=TEST, against=SOFT, against_loss="kl", **QUICK)
        name = SOFT.digest[:8]
        words = f"this: {name}, soft labels, loss=soft-ce; --against: {name}, soft labels, loss=kl:"
        assert words in evaluation.lines()[-1]

    def test_equal_sides_are_said_to_be_equal(self):
        evaluation = ddlabel.evaluate(SOFT, test=TEST, against=SOFT, **QUICK)
        assert "(nothing differs)" in evaluation.lines()[-1]

    def test_files_of_one_name_are_told_apart_by_their_digests(self, tmp_path):
        paths = []
        for folder, bundle in (("a", SOFT), ("b", FEW)):
            (tmp_path / folder).mkdir()
            paths.append(tmp_path / folder / "x.safetensors")
            formats.write(str(paths[-1]), bundle)
        evaluation = ddlabel.evaluate(paths[0], test=TEST, against=paths[1], **QUICK)
        line = evaluation.lines()[-1]
        assert f"this: x ({SOFT.digest[:8]}), soft labels" in line
        assert f"--against: x ({FEW.digest[:8]}), hard labels" in line

    def test_a_loss_that_cannot_use_the_other_labels_names_the_option(self):
        directions = ddlabel.refine(SOFT, space="logits")
        with pytest.raises(IncompatibleError, match=r"^--against: .*--against-loss"):
            cell(SOFT, directions)
        assert cell(SOFT, directions, against_loss="cosine").comparison is not None

    def test_doubts_about_the_other_side_are_noted(self):
        listener = Listener()
        options = QUICK | {"against_loss": "ce", "reporter": listener}
        ddlabel.evaluate(FEW, test=TEST, against=SOFT, **options)
        assert any(
            "the loss ce learns from the hard labels alone" in note for note in listener.notes
        )

    def test_a_loss_of_the_other_side_needs_one(self):
        with pytest.raises(UsageError, match="--against-loss is only used with --against"):
            cell(SOFT, against_loss="ce")


class TestGlobalLabels:
    def test_soft_and_dense_labels_are_both_used(self):
        made = cell(DENSE)
        assert made.options.global_labels == "soft"
        assert keys(made) == keys(cell(DENSE, global_labels="soft"))
        assert keys(made) != keys(cell(DENSE, global_labels="hard"))

    def test_without_soft_labels_they_are_hard(self):
        assert cell(replace(DENSE, soft=None)).options.global_labels == "hard"

    def test_soft_labels_that_do_not_fit_the_views_are_not_used(self):
        refined = ddlabel.refine(DENSE, space="logits")
        assert refined.soft.meta.space == "direction"
        assert cell(refined).options.global_labels == "hard"

    def test_the_protocol_of_ladd_keeps_hard_ones(self):
        assert cell(DENSE, protocol="ladd", epochs=1).options.global_labels == "hard"

    @pytest.mark.parametrize(
        ("whole", "words"),
        [("auto", "(dense and soft labels, "), ("hard", "(dense and hard labels, ")],
    )
    def test_the_line_names_them(self, whole, words):
        evaluation = ddlabel.evaluate(DENSE, test=TEST, global_labels=whole, **QUICK)
        assert words in evaluation.lines()[0]

    def test_a_torch_dataset_has_the_same(self):
        by_default = ddlabel.to_torch(DENSE, views=True)
        soft = ddlabel.to_torch(DENSE, views=True, global_labels="soft")
        assert by_default[0][1].tolist() == soft[0][1].tolist()
        hard = ddlabel.to_torch(replace(DENSE, soft=None), views=True)
        assert hard[0][1].sum() == hard[0][1].max() == 1
