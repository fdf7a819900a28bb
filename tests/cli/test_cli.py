"""The commands as a user meets them: what they print, what they refuse, what they leave behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import FIXTURES, TINY, make_bundle, records, with_arrays

from ddlabel.data import formats
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.schema import LabelMeta

RELABEL = ["relabel", "few.safetensors", "out.safetensors", "--expert", "expert"]
DENSIFY = ["densify", *RELABEL[1:]]


class TestWhatCommandsMake:
    def test_the_path_from_images_to_accuracy(self, cli, digits):
        said = cli(
            "relabel",
            "few.safetensors",
            "soft.safetensors",
            "--expert",
            "expert",
            "--epoch",
            "last",
        )
        assert said.out == b"soft.safetensors\n"
        assert b"labels by expert@2" in said.err
        assert b"agree with the hard labels" in said.err
        cli(
            "densify",
            "soft.safetensors",
            "dense.h5",
            "--expert",
            "expert",
            "--views",
            "grid:n=2,r=0.75",
        )
        cli("refine", "dense.h5", "refined.safetensors", "--field", "dense")
        done = formats.read("refined.safetensors")
        assert (done.dense.values.shape, done.views.boxes.shape) == ((20, 4, 10), (4, 4))
        assert done.dense.meta.space == "probs"
        assert [entry.command for entry in done.history] == [
            "import",
            "select",
            "relabel",
            "densify",
            "refine",
        ]
        said = cli(
            "evaluate",
            "refined.safetensors",
            "--test",
            "test.safetensors",
            *TINY,
            "--seeds",
            2,
            "--json",
        )
        (outcome,) = json.loads(said.out)["cells"]
        assert outcome["labels"] == "dense"
        assert outcome["percent"]["mean"] == pytest.approx(100 * np.mean(outcome["accuracies"]))

    def test_stored_labels_are_the_experts_logits(self, cli, digits):
        cli("relabel", "few.safetensors", "soft.safetensors", "--expert", "expert", "--epoch", 1.5)
        from ddlabel.training.labeler import network_of

        run = ExpertRun(digits / "expert")
        step = run.step_of("1.5")
        network = network_of(run.about)
        network.body.load_state_dict({k: torch.from_numpy(v) for k, v in run.weights(step).items()})
        few = formats.read("few.safetensors")
        with torch.no_grad():
            expected = network.eval()(torch.from_numpy(few.images / np.float32(255)))
        np.testing.assert_allclose(
            formats.read("soft.safetensors").soft.values, expected, atol=1e-5
        )

    def test_an_ensembles_label_is_the_mean_of_the_logits(self, cli, digits):
        cli("train-expert", "real.safetensors", "both", *TINY, "--experts", 2, "--batch-size", 30)
        for name, folder in (("a", "both/expert-0"), ("b", "both/expert-1"), ("ab", "both")):
            cli(
                "relabel",
                "few.safetensors",
                f"{name}.safetensors",
                "--expert",
                folder,
                "--epoch",
                "last",
            )
        a, b, ab = (formats.read(f"{name}.safetensors").soft.values for name in ("a", "b", "ab"))
        np.testing.assert_allclose(ab, (a + b) / 2, atol=1e-5)
        assert not np.allclose(a, b)

    def test_dense_labels_are_the_experts_on_the_cut_views(self, cli, digits):
        cli(
            "densify",
            "few.safetensors",
            "dense.safetensors",
            "--expert",
            "expert",
            "--epoch",
            "last",
            "--views",
            "grid:n=2,r=0.5",
        )
        dense = formats.read("dense.safetensors")
        # The view at the lower left of image 3, cut and resized here, as an image of its own.
        cut = torch.from_numpy(dense.images[3:4, :, 4:, :4] / np.float32(255))
        alone = torch.nn.functional.interpolate(cut, (8, 8), mode="bilinear", align_corners=False)
        from ddlabel.training.labeler import network_of

        run = ExpertRun(digits / "expert")
        network = network_of(run.about)
        network.body.load_state_dict(
            {k: torch.from_numpy(v) for k, v in run.weights(run.step_of("last")).items()}
        )
        with torch.no_grad():
            expected = network.eval()(alone)[0]
        np.testing.assert_allclose(dense.dense.values[3, 2], expected, atol=1e-5)

    def test_auto_picks_the_first_checkpoint_that_is_good_enough_and_never_sees_test_accuracy(
        self, cli, digits
    ):
        run = ExpertRun(digits / "expert")
        changed = [
            record | {"train_accuracy": accuracy, "test_accuracy": 1 - accuracy}
            for record, accuracy in zip(run.metrics(), (0.3, 0.5, 0.7, 0.8), strict=True)
        ]
        run.save_metrics(changed)
        # IPC 2: 0.6 + 0.2·log10(2) = 0.660 of the best 0.8 is 0.528, first reached by the third: epoch 1.5.
        said = cli("relabel", "few.safetensors", "soft.safetensors", "--expert", "expert")
        assert b"labels by expert@1.5" in said.err

    def test_select_keeps_the_source_index_and_nests(self, cli, digits):
        cli("select", "real.safetensors", "more.safetensors", "--ipc", 4)
        real, few, more = (formats.read(f"{name}.safetensors") for name in ("real", "few", "more"))
        assert np.array_equal(few.images, real.images[few.source_index])
        assert np.bincount(few.hard_labels).tolist() == [2] * 10
        assert set(few.source_index) <= set(more.source_index)

    def test_info_gives_the_pipeline_that_made_it(self, cli, digits):
        said = cli("info", "few.safetensors").out.decode()
        assert "ddlabel import digits.npz - --format auto |" in said
        assert (
            "ddlabel select - - --epoch last --ipc 2 --method random --precision auto --seed 0"
            in said
        )
        assert json.loads(cli("info", "few.safetensors", "--json").out)["shapes"]["images"] == [
            20,
            1,
            8,
            8,
        ]

    def test_evaluate_works_as_the_readme_writes_it(self, cli):
        said = cli("evaluate", "--loss", "cosine", "--optimizer", "sgd", *TINY, "--seeds", 2)
        assert said.out.endswith(b"students)\n")
        assert b"the demo's handwritten digits" in said.err

    def test_config_file_names_bundle_and_test(self, cli, digits):
        Path("run.toml").write_text(
            '[evaluate]\nbundle = "few.safetensors"\ntest = "test.safetensors"\nepochs = 1\nseeds = 1\n'
            'net = "convnet-d1:width=4"\n'
        )
        assert cli("evaluate", "--config", "run.toml").out.endswith(b"% (1 student)\n")

    def test_a_rerun_trains_only_the_students_that_are_missing(self, cli, digits):
        words = [
            "evaluate",
            "few.safetensors",
            "--test",
            "test.safetensors",
            *TINY,
            "--out",
            "results.jsonl",
        ]
        cli(*words, "--seeds", 2)
        two = Path("results.jsonl").read_bytes()
        said = cli(*words, "--seeds", 3)
        assert b"2 of 3 students are in results.jsonl already" in said.err
        three = Path("results.jsonl").read_bytes()
        assert three.startswith(two)
        whole = records(Path("results.jsonl"))
        Path("results.jsonl").write_bytes(three[:-20])  # as a crash would cut it
        cli(*words, "--seeds", 3)
        again = records(Path("results.jsonl"))
        # Another run takes other seconds; all else is the same.
        assert [record | {"cost": 0} for record in again] == [
            record | {"cost": 0} for record in whole
        ]

    @pytest.mark.parametrize("mode", ["mix", "sum"])
    @pytest.mark.parametrize("whole", ["hard", "soft", "none"])
    def test_every_way_to_learn_from_dense_labels(self, cli, digits, mode, whole):
        cli("relabel", "few.safetensors", "soft.safetensors", "--expert", "expert")
        cli(
            "densify",
            "soft.safetensors",
            "dense.safetensors",
            "--expert",
            "expert",
            "--views",
            "grid:n=2,r=0.75",
        )
        words = ["--dense-batches", mode, "--global-labels", whole, "--seeds", 1]
        cli("evaluate", "dense.safetensors", "--test", "test.safetensors", *TINY, *words)

    @pytest.mark.parametrize("kind", ["losses", "optimizers", "schedules", "augmentations", "nets"])
    def test_list_shows_what_a_spec_can_name(self, cli, kind):
        entries = json.loads(cli("list", kind, "--json").out)
        assert all(entry["summary"].endswith((".", ":")) or entry["summary"] for entry in entries)
        assert cli("list", kind).out.count(b"\n    ") == len(entries)

    def test_only_missing_experts_are_trained(self, cli, digits):
        words = [
            "train-expert",
            "real.safetensors",
            "both",
            *TINY,
            "--experts",
            2,
            "--batch-size",
            30,
        ]
        cli(*words)
        first = (digits / "both/expert-0/expert.json").stat().st_mtime_ns
        shutil.rmtree(digits / "both/expert-1")
        assert cli(*words).out == b"both/expert-1\n"
        assert (digits / "both/expert-0/expert.json").stat().st_mtime_ns == first
        assert b"complete already" in cli(*words, code=6).err

    def test_whitening_stays_inside_the_expert(self, cli, digits):
        cli("train-expert", "real.safetensors", "white", *TINY, "--zca", "--batch-size", 30)
        assert (digits / "white" / "whitening.safetensors").exists()
        cli(
            "relabel", "few.safetensors", "soft.safetensors", "--expert", "white", "--epoch", "last"
        )
        assert np.isfinite(formats.read("soft.safetensors").soft.values).all()

    def test_a_missing_checkpoint_is_named(self, cli, digits):
        for path in sorted((digits / "expert").glob("step-*"))[:-1]:
            path.unlink()
        said = cli(
            "relabel", "few.safetensors", "x.safetensors", "--expert", "expert", code=3
        ).err.decode()
        assert "checkpoints of epochs 0.5, 1, 1.5 are missing" in said
        assert "name an epoch" in said

    def test_refining_twice_is_refused(self, cli, digits):
        cli("relabel", "few.safetensors", "soft.safetensors", "--expert", "expert")
        cli("refine", "soft.safetensors", "once.safetensors", "--gamma", 0.2)
        assert formats.read("once.safetensors").soft.meta.source.endswith(" refined at 0.2")
        assert (
            b"refined already" in cli("refine", "once.safetensors", "twice.safetensors", code=5).err
        )

    def test_pruning_needs_the_views_to_be_meant(self, cli, digits):
        words = [
            "compress",
            "few.safetensors",
            "x.safetensors",
            "--field",
            "soft",
            "--prune",
            "random",
        ]
        assert b"--prune" in cli(*words, code=2).err

    def test_an_experts_own_epoch_is_in_the_history(self, cli, digits):
        cli(
            "relabel",
            "few.safetensors",
            "ab.safetensors",
            "--expert",
            "expert@1",
            "--expert",
            "expert@2",
        )
        said = cli("info", "ab.safetensors").out.decode()
        assert "--expert expert@1 --expert expert@2" in said
        assert formats.read("ab.safetensors").soft.meta.source == "expert@1 + expert@2"

    def test_a_temperature_is_chosen_for_an_expert_with_its_own_epoch(self, cli, digits):
        words = ["--expert", "expert@1", "--temperature", "auto", "--real", "real.safetensors"]
        quick = ["--trial-net", "convnet-d1:width=4", "--trial-steps", 2, "--trials", 1]
        cli("relabel", "few.safetensors", "warm.safetensors", *words, *quick)
        assert formats.read("warm.safetensors").soft.meta.source == "expert@1"


class TestWhatIsRefused:
    """Each with its exit code, one line, and no output file."""

    @pytest.mark.parametrize(
        ("words", "code", "message"),
        [
            (["info", "missing.safetensors"], 3, "there is no such file"),
            (["info", "few.zip"], 3, "there is no such file"),
            (["info", "run.toml"], 2, "unknown suffix '.toml'"),
            (["info", "foreign.safetensors"], 3, "not a safetensors file"),
            (["check", "cut.safetensors"], 3, "cut off"),
            (["info", "."], 3, "is a folder"),
            (["select", "few.safetensors", "real.safetensors"], 6, "--force"),
            (["select", "few.safetensors", "out.safetensors", "--ipc", 3], 2, "has 2 images"),
            (
                ["select", "few.safetensors", "out.safetensors", "--ipc", 0],
                2,
                "--ipc is 0: expected at least 1",
            ),
            (["select", "few.safetensors", "no/out.safetensors"], 7, "there is no folder 'no'"),
            (["select", "few.safetensors", "out.png"], 2, "unknown suffix '.png'"),
            (
                ["relabel", "few.safetensors", "out.safetensors", "--expert", "nowhere"],
                3,
                "no such expert run",
            ),
            (
                [
                    "relabel",
                    "few.safetensors",
                    "out.safetensors",
                    "--expert",
                    "expert",
                    "--epoch",
                    9,
                ],
                3,
                "there are 0.5, 1",
            ),
            (
                [
                    "relabel",
                    "few.safetensors",
                    "out.safetensors",
                    "--expert",
                    "expert",
                    "--epoch",
                    "soon",
                ],
                2,
                "--epoch",
            ),
            (
                ["relabel", "three.safetensors", "out.safetensors", "--expert", "expert"],
                5,
                "other classes",
            ),
            (
                [
                    "relabel",
                    "few.safetensors",
                    "out.safetensors",
                    "--expert",
                    "expert",
                    "--temperature",
                    0,
                ],
                2,
                "above 0",
            ),
            ([*DENSIFY, "--views", "grid:n=0"], 2, "n is 0"),
            ([*DENSIFY, "--views", "grid:r=1.5"], 2, "r is 1.5"),
            ([*DENSIFY, "--views", "grid:n=8"], 2, "different positions"),
            ([*DENSIFY, "--views", "gird"], 2, "did you mean 'grid'"),
            ([*DENSIFY, "--views", "fkd:flip=2"], 2, "flip 2.0"),
            ([*DENSIFY, "--views", "random:low=0.9,high=0.5"], 2, "low"),
            ([*RELABEL, "--temperature", "auto"], 2, "--real"),
            ([*RELABEL, "--temperature", "warm"], 2, "a number, or auto"),
            (
                [*RELABEL, "--epoch", "last", "--real", "real.safetensors"],
                2,
                "--epoch auto",
            ),
            ([*RELABEL, "--real", "three.safetensors"], 5, "other classes"),
            ([*RELABEL, "--real", "few.safetensors"], 5, "all its images are in the bundle"),
            ([*RELABEL, "--weights", "1,2"], 2, "--weights is for an ensemble"),
            (
                [*RELABEL[:-1], "expert@1", "--expert", "expert@2", "--weights", "-1,1"],
                2,
                "--weights is '-1,1'",
            ),
            (
                [*RELABEL[:-1], "expert@1", "--expert", "expert@2", "--weights", "nan,1"],
                2,
                "--weights is 'nan,1'",
            ),
            ([*RELABEL[:-1], "expert@1", "--epoch", "last"], 2, "all have one"),
            ([*RELABEL[:-1], "expert@2", "--expert", "expert", "--epoch", "last"], 2, "twice"),
            ([*RELABEL, "--trials", 2], 2, "--trials"),
            ([*RELABEL, "--mean", "median"], 2, "--mean is 'median'"),
            (["refine", "three.safetensors", "out.safetensors", "--gamma", "auto"], 2, "--real"),
            (["refine", "few.safetensors", "out.safetensors"], 5, "ddlabel relabel"),
            (["refine", "three.safetensors", "out.safetensors", "--gamma", 2], 2, "--gamma is 2"),
            (["refine", "three.safetensors", "out.safetensors", "--alpha", -1], 2, "--alpha is -1"),
            (["refine", "direction.safetensors", "out.safetensors"], 5, "refined already"),
            (["evaluate", "few.safetensors"], 2, "--test"),
            (["evaluate", "few.safetensors", "--test", "three.safetensors"], 5, "other classes"),
            (
                ["evaluate", "few.safetensors", "--test", "test.safetensors", "--labels", "soft"],
                5,
                "ddlabel relabel",
            ),
            (
                ["evaluate", "few.safetensors", "--test", "test.safetensors", "--labels", "dense"],
                5,
                "ddlabel densify",
            ),
            (
                ["evaluate", "few.safetensors", "--test", "test.safetensors", "--loss", "kll"],
                2,
                "did you mean 'kl'",
            ),
            (
                ["evaluate", "few.safetensors", "--test", "test.safetensors", "--loss", "mse"],
                5,
                "space=probs",
            ),
            (
                [
                    "evaluate",
                    "direction.safetensors",
                    "--test",
                    "three.safetensors",
                    "--loss",
                    "kl",
                ],
                5,
                "directions",
            ),
            (
                [
                    "evaluate",
                    "few.safetensors",
                    "--test",
                    "test.safetensors",
                    "--net",
                    "convnet-d5",
                ],
                2,
                "shallower",
            ),
            (
                ["evaluate", "few.safetensors", "--test", "test.safetensors", "--out", "few.csv"],
                2,
                ".jsonl",
            ),
            (["evaluate", "-", "--test", "-"], 2, "only one input"),
            (
                ["evaluate", "few.safetensors", "--test", "test.safetensors", "--device", "cuda:7"],
                8,
                "no such device",
            ),
            (
                ["evaluate", "few.safetensors", "--test", "test.safetensors", "--device", "gpu"],
                2,
                "expected auto",
            ),
            (["train-expert", "real.safetensors", "few.safetensors"], 6, "is a file"),
            (
                ["train-expert", "real.safetensors", "expert"],
                5,
                "a run of other batch_size, epochs, net",
            ),
            (
                ["train-expert", "real.safetensors", "new", "--optimizer", "sdg"],
                2,
                "did you mean 'sgd'",
            ),
            (
                ["train-expert", "real.safetensors", "new", "--test", "three.safetensors"],
                5,
                "other classes",
            ),
            (["import", "nothing", "out.safetensors"], 3, "no such file"),
            (["import", "few.safetensors"], 2, "Missing argument"),
            (
                ["train-expert", "real.safetensors", "new", "--optimizer", "sgd:lr=-1"],
                2,
                "Invalid learning rate",
            ),
            (
                ["train-expert", "real.safetensors", "new", "--augment", "dsa:crop-pad=-1"],
                2,
                "does not work on 8 px",
            ),
            (
                [
                    "evaluate",
                    "few.safetensors",
                    "--test",
                    "test.safetensors",
                    "--loss",
                    "kl:temperature=0",
                ],
                2,
                "nan",
            ),
            (
                [
                    "evaluate",
                    "few.safetensors",
                    "--test",
                    "test.safetensors",
                    "--net",
                    "convnet-d1:width=0",
                ],
                2,
                "width=0",
            ),
            (
                [
                    "relabel",
                    "few.safetensors",
                    "out.safetensors",
                    "--expert",
                    "expert",
                    "--expert",
                    "expert",
                ],
                2,
                "twice",
            ),
            (
                ["select", "few.safetensors", "out.safetensors", "--config", "typo.toml"],
                2,
                "did you mean 'select'",
            ),
            (["select", "few.safetensors"], 2, "Missing argument"),
            (
                ["select", "few.safetensors", "out.safetensors", "--ipc", "many"],
                2,
                "Invalid value for '--ipc'",
            ),
            (
                [
                    "evaluate",
                    "few.safetensors",
                    "--test",
                    "test.safetensors",
                    "--global-labels",
                    "soft",
                ],
                2,
                "--global-labels",
            ),
            (["list", "colours"], 2, "choose one of"),
        ],
        ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
    )
    def test_one_line_says_what_is_wrong(self, cli, digits, words, code, message):
        three = make_bundle(images=9)
        formats.write("three.safetensors", three)
        formats.write(
            "direction.safetensors", with_arrays(three, soft=LabelMeta(space="direction"))
        )
        Path("run.toml").write_text("")
        Path("typo.toml").write_text("[selct]\nipc = 1\n")
        Path("foreign.safetensors").write_bytes(b"hello" * 100)
        Path("cut.safetensors").write_bytes(Path("few.safetensors").read_bytes()[:-1])
        before = {path: path.stat().st_mtime_ns for path in digits.rglob("*") if path.is_file()}
        said = cli(*words, code=code)
        assert message in said.err.decode()
        assert said.err.decode().splitlines()[-1].startswith("error: ")
        assert said.err.count(b"error: ") == 1
        assert {
            path: path.stat().st_mtime_ns for path in digits.rglob("*") if path.is_file()
        } == before

    def test_errors_are_json_on_request(self, cli):
        assert json.loads(cli("info", "missing.h5", "--json", code=3).err)["exit_code"] == 3

    def test_names_cannot_steer_the_terminal(self, cli):
        assert b"\x1b" not in cli("info", "\x1b[31mred.safetensors", code=3).err

    def test_nor_can_names_of_classes(self, cli):
        formats.write("red.safetensors", replace(make_bundle(), classes=("a", "\x1b[31mred", "c")))
        for words in (["info", "red.safetensors"], ["info", "red.safetensors", "--json"]):
            assert b"\x1b" not in cli(*words).out

    def test_a_damaged_checkpoint_is_refused(self, cli, digits):
        last = sorted((digits / "expert").glob("step-*"))[-1]
        content = bytearray(last.read_bytes())
        content[-1] ^= 1
        last.write_bytes(content)
        said = cli(
            "relabel",
            "few.safetensors",
            "out.safetensors",
            "--expert",
            "expert",
            "--epoch",
            "last",
            code=3,
        )
        assert b"does not match its sha256" in said.err
        last.unlink()
        cli(
            "relabel",
            "few.safetensors",
            "out.safetensors",
            "--expert",
            "expert",
            "--epoch",
            "2",
            code=3,
        )

    def test_force_replaces(self, cli, digits):
        cli("select", "real.safetensors", "few.safetensors", "--ipc", 1, "--force")
        assert len(formats.read("few.safetensors")) == 10


def test_a_killed_expert_goes_on_to_the_same_bytes(ddlabel, tmp_path):
    ddlabel("import", FIXTURES / "digits.npz", "real.safetensors")
    words = [
        "real.safetensors",
        "--net",
        "convnet-d2:width=16,norm=batch",
        "--epochs",
        "8",
        "--save-every",
        "0.5",
    ]
    words += ["--batch-size", "7", "--optimizer", "adam", "--quiet"]
    ddlabel("train-expert", *words[:1], "whole", *words[1:])
    command = [sys.executable, "-m", "ddlabel", "train-expert", *words[:1], "killed", *words[1:]]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    for kill, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)):
        running = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE)
        saved = len(list((tmp_path / "killed").glob("step-*")))
        while (
            len(list((tmp_path / "killed").glob("step-*"))) < saved + 2 and running.poll() is None
        ):
            time.sleep(0.005)
        running.send_signal(kill)
        running.communicate()
        assert running.returncode == code
    ddlabel("train-expert", *words[:1], "killed", *words[1:])
    whole, killed = (
        {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()}
        for name in ("whole", "killed")
    )
    assert whole == killed


def test_smoke_pipeline_gives_the_same_bytes_through_pipes_and_through_files(tmp_path):
    script = Path(__file__).parents[1] / "smoke.sh"
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    contents = []
    for way, seed in (("pipes", "1"), ("files", "2")):
        folder = tmp_path / way
        subprocess.run(
            ["sh", script, folder, way], check=True, env=environment | {"PYTHONHASHSEED": seed}
        )
        made = {
            str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
        }
        contents.append(made)
    pipes, files = contents
    # The files in between and what students cost are the only differences: all else was made twice, to the same bytes.
    results = [
        [json.loads(line) | {"cost": 0} for line in made.pop("results.jsonl").splitlines()]
        for made in contents
    ]
    assert results[0] == results[1]
    assert pipes.items() <= files.items()
    assert files.keys() - pipes.keys() == {"few.h5", "soft.safetensors", "dense.h5"}


def test_closed_pipe_ends_quietly(tmp_path):
    formats.write(str(tmp_path / "big.safetensors"), make_bundle(images=3000, size=32))
    select = f"{sys.executable} -m ddlabel select big.safetensors - --ipc 900 -q"
    command = f"{select} | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"0\n", b"")


@pytest.mark.parametrize("suffix", [".safetensors", ".h5"])
def test_golden_bundles_of_format_1_are_read_as_they_were_written(suffix):
    bundle = formats.read(str(FIXTURES / f"golden-1{suffix}"))
    assert bundle.classes == ("cat", "dog ☃")
    assert bundle.images[2, 0, 3].tolist() == [44, 45, 46, 47]
    assert bundle.source_index.tolist() == [7, 3, 5]
    assert bundle.soft.values.tolist() == [[1, 0], [0.25, 0.75], [0.5, 0.5]]
    assert (bundle.soft.meta.space, bundle.dense.meta.space, bundle.dense.meta.temperature) == (
        "probs",
        "logits",
        2.0,
    )
    assert bundle.dense.values[2].tolist() == [[8, 9], [10, 11]]
    assert bundle.history[0].inputs[0].name == "pets"
