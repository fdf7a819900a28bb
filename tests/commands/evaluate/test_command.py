"""`ddlabel evaluate`: grids, results files, comparisons and controls."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from samples import records, with_arrays
from students import easy_bundle

import ddlabel
from ddlabel.data import formats

OUT = Path("r.jsonl")
TOML = """\
net = "convnet-d1:width=4"
epochs = 2
augment = "none"
seeds = 2
precision = "fp32"
test = "test.safetensors"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """few.safetensors (hard labels), soft, test and real, and options in s.toml."""
    monkeypatch.chdir(tmp_path)
    few = with_arrays(easy_bundle(9), soft_labels=None, soft=None)
    formats.write("few.safetensors", few)
    formats.write("soft.safetensors", easy_bundle(9))
    formats.write("test.safetensors", easy_bundle(30, seed=4))
    formats.write("real.safetensors", easy_bundle(60, seed=8))
    Path("s.toml").write_text(TOML)
    return tmp_path


@pytest.fixture
def evaluate(cli, folder):
    """Run `ddlabel evaluate BUNDLE --config s.toml` with more words."""

    def run(bundle: str, *words, code: int = 0):
        return cli("evaluate", f"{bundle}.safetensors", "--config", "s.toml", *words, code=code)

    return run


@pytest.fixture
def cells(evaluate):
    """The cells that `--json` prints."""

    def run(bundle: str, *words) -> list[dict]:
        return json.loads(evaluate(bundle, *words, "--json").out)["cells"]

    return run


class TestGrid:
    WORDS = (
        "--loss",
        "ce,soft-ce",
        "--optimizer",
        "sgd:lr=0.1,momentum=0.5,adam",
        "--optimizer",
        "lion",
    )

    def test_every_combination_is_a_cell(self, cells):
        places = [(cell["loss"], cell["optimizer"]) for cell in cells("soft", *self.WORDS)]
        optimizers = ("sgd:lr=0.1,momentum=0.5", "adam", "lion")
        assert places == [(loss, name) for loss in ("ce", "soft-ce") for name in optimizers]

    def test_students_in_the_results_file_are_not_trained_again(self, evaluate):
        first = evaluate("soft", *self.WORDS, "--out", OUT)
        assert len(records(OUT)) == 12
        again = evaluate("soft", *self.WORDS, "--out", OUT)
        assert len(records(OUT)) == 12
        assert b"12 of 12" in again.err
        assert again.out == first.out
        assert again.out.count(b"95 % interval") == 6

    def test_the_table_on_standard_error_is_that_of_the_evaluation(self, evaluate):
        done = evaluate("soft", *self.WORDS, "--out", OUT)
        evaluation = ddlabel.evaluate(
            "soft.safetensors",
            config="s.toml",
            loss=["ce", "soft-ce"],
            optimizer=["sgd:lr=0.1,momentum=0.5", "adam", "lion"],
            out=OUT,
        )
        assert str(evaluation) in done.err.decode()
        assert "\n".join(evaluation.lines()) + "\n" == done.out.decode()

    def test_table_option_chooses_rows_and_columns(self, evaluate):
        words = ("soft", "--loss", "ce,soft-ce", "--mix", "none", "--optimizer", "sgd,adam")
        assert "optimizer \\ loss" in evaluate(*words, "--table", "optimizer,loss").err.decode()

    def test_a_table_names_the_axes_that_it_averages_over(self, evaluate):
        words = ("--loss", "soft-ce,js", "--mix", "none,mixup", "--optimizer", "sgd,adam")
        done = evaluate("soft", *words, "--table", "loss,mix")
        assert b"averaged over optimizer" in b" ".join(done.err.split())
        places = {line.partition(": ")[0] for line in done.out.decode().splitlines()}
        assert len(places) == 8

    def test_a_student_that_diverged_is_named(self, evaluate):
        done = evaluate("few", "--optimizer", "sgd:lr=1e30,adam")
        diverged, learned = done.out.splitlines()
        assert b"2 diverged" in diverged
        assert b"diverged" not in learned
        assert b"some students diverged" in b" ".join(done.err.split())


class TestProtocol:
    WORDS = ("--test", "test.safetensors", "--net", "convnet-d1:width=4", "--seeds", 1)

    def run(self, cli, *words) -> dict:
        cli("evaluate", *words, *self.WORDS, "--precision", "fp32", "--out", OUT)
        (record,) = records(OUT)
        return record

    def test_it_presets_options_and_flags_override_it(self, cli, folder):
        words = ("soft.safetensors", "--protocol", "label-worth", "--epochs", 2)
        record = self.run(cli, *words)
        assert record["options"]["protocol"] == "label-worth"
        assert record["options"]["schedule"] == "step:every=0.25,factor=0.3"
        assert record["options"]["batch_size"] == 256
        assert record["protocol_overridden"] == {"epochs": 3000, "net": "convnet-d3"}

    def test_its_options_for_views_do_not_count_without_views(self, cli, folder):
        words = ("few.safetensors", "--protocol", "ladd", "--labels", "hard", "--epochs", 1)
        record = self.run(cli, *words)
        assert record["options"]["dense_batches"] == "mix"
        assert record["protocol_overridden"]["dense_batches"] == "sum"


class TestComparison:
    def test_labels_do_not_differ_from_themselves(self, cells):
        (cell,) = cells("soft", "--against", "soft.safetensors")
        assert (cell["against"]["difference"]["mean"], cell["against"]["p_value"]) == (0, None)

    def test_the_difference_is_that_of_the_accuracies(self, cells):
        (cell,) = cells("soft", "--against", "few.safetensors")
        assert cell["against"]["labels"] == "hard"
        difference = np.subtract(cell["accuracies"], cell["against"]["accuracies"])
        assert cell["against"]["difference"]["mean"] == pytest.approx(100 * difference.mean())

    def test_its_line_names_the_cell(self, evaluate):
        words = ("--against", "few.safetensors", "--optimizer", "sgd,adam", "--seeds", 1)
        lines = evaluate("soft", *words).out.decode().splitlines()
        assert [line.partition(":")[0] for line in lines] == 2 * ["optimizer=sgd", "optimizer=adam"]


class TestScores:
    def test_they_are_dd_rankings(self, cells):
        words = ("--control", "scores", "--real", "real.safetensors", "--real-epochs", 3)
        (cell,) = cells("few", *words)
        controls = cell["controls"]
        assert list(controls) == ["random", "hard", "real", "plain", "random-plain"]
        # Without augmentation the plain students are the own ones.
        assert controls["plain"]["accuracies"] == cell["accuracies"]

        own = np.array(cell["accuracies"])
        of = {role: np.array(control["accuracies"]) for role, control in controls.items()}
        gain = own - of["random"]
        loss = of["real"] - of["hard"]
        expected = {
            "IOR": gain,
            "HLR": loss,
            "LRS": squash((gain - loss) / 2),
            "ARS": squash((gain + own - of["random-plain"]) / 2),
        }
        assert list(cell["scores"]) == list(expected)
        for name, values in expected.items():
            assert cell["scores"][name]["mean"] == pytest.approx(values.mean())


def squash(alpha: np.ndarray) -> np.ndarray:
    """(e^α − e⁻¹)/(e − e⁻¹), the scale of DD-Ranking's scores."""
    return (np.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1))


class TestNotes:
    def test_a_loss_of_hard_labels_on_soft_labels_is_noted(self, evaluate):
        assert b"note: the loss ce" in evaluate("soft", "--loss", "ce").err

    def test_testing_on_the_training_images_is_warned_of(self, evaluate):
        done = evaluate("soft", "--test", "soft.safetensors", "--quiet")
        assert b"warning: the test images are the training images" in done.err


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "code", "named"),
        [
            (["--control", "random"], 2, "--control"),
            (["--table", "loss"], 2, "--table"),
            (["--table", "loss,optimiser"], 2, "--table"),
            (["--protocol", "gifts"], 2, "gift"),
            (["--loss", "ce,ce"], 2, "--loss"),
            (["--teacher", "nowhere"], 3, "nowhere"),
            (["--ema", "1"], 2, "--ema"),
            (["--holdout", "0.3"], 2, "--holdout"),
            (["--checks", "3", "--select", "last"], 2, "--checks"),
            (["--real-epochs", "3"], 2, "--real-epochs"),
            (["--teacher-epoch", "1"], 2, "--teacher-epoch"),
            (["--test", "-", "--against", "-"], 2, "standard input"),
            (["--out", "nowhere/r.jsonl"], 7, "nowhere"),
        ],
    )
    def test_exit_code_and_flag(self, evaluate, words, code, named):
        assert named in evaluate("few", *words, code=code).err.decode()


def test_list_shows_every_protocol_in_full(cli):
    text = cli("list", "protocols").out.decode()
    for name in ("datm", "edc", "gift", "label-worth", "ladd", "mtt", "rded", "sre2l"):
        assert name in text
    assert "torchvision-imagenet" in text
    assert "…" not in text
