"""`train-expert` from Python and on the command line: records, resuming, inputs and refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from experts import SMALL, StopAfter, read_files, train_small_expert
from samples import TINY, make_bundle
from students import easy_bundle

from ddlabel.commands.train_expert import train_expert
from ddlabel.core.errors import (
    IncompatibleError,
    InvalidInputError,
    OutputExistsError,
    UsageError,
)
from ddlabel.data import formats, whitening
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.run_lock import locked_folder
from ddlabel.training.device_data import to_unit
from ddlabel.training.labeler import Labeler, network_of
from ddlabel.training.runtime import Runtime

CPU_RUNTIME = Runtime(device=torch.device("cpu"), precision="fp32", compile="off")
LEARNS = {"epochs": 20, "net": "convnet-d1:width=8", "optimizer": "adam:lr=0.01", "augment": "none"}


class TestRecords:
    def test_accuracies_are_those_of_the_checkpoint(self, tmp_path):
        real, test = easy_bundle(60), easy_bundle(24, seed=1)
        run = train_small_expert(real, tmp_path / "run", test=test, **LEARNS | {"epochs": 3})
        assert [record["epoch"] for record in run.metrics()] == [1, 2, 3]
        for record in run.metrics():
            labeler = Labeler([(run, record["step"])], CPU_RUNTIME, num_images=60)
            for name, bundle in (("train_accuracy", real), ("test_accuracy", test)):
                classes = labeler(to_unit(torch.from_numpy(bundle.images))).argmax(1).numpy()
                assert record[name] == np.mean(classes == bundle.hard_labels)

    def test_every_record_has_the_environment_and_expert_json_has_not(self, tmp_path):
        run = train_small_expert(make_bundle(), tmp_path / "run", epochs=2)
        for record in run.metrics():
            assert record["environment"]["threads"] == torch.get_num_threads()
            assert record["environment"]["versions"]["torch"] == torch.__version__
            assert record["environment"]["precision"] == "fp32"
        assert "threads" not in (tmp_path / "run" / "expert.json").read_text()

    def test_easy_images_are_learned(self, tmp_path):
        last = train_small_expert(easy_bundle(60), tmp_path / "run", **LEARNS).metrics()[-1]
        assert last["train_accuracy"] == 1
        assert last["loss"] < 0.5

    def test_no_test_images_no_test_accuracy(self, tmp_path):
        (record,) = train_small_expert(easy_bundle(), tmp_path / "run").metrics()
        assert record.keys() == {"step", "epoch", "loss", "train_accuracy", "environment", "sha256"}

    def test_test_images_change_nothing_else(self, tmp_path):
        real = easy_bundle(60)
        alone = train_small_expert(real, tmp_path / "alone", epochs=2)
        tested = train_small_expert(real, tmp_path / "tested", epochs=2, test=easy_bundle(24, 1))
        digests = [[record["sha256"] for record in run.metrics()] for run in (alone, tested)]
        assert digests[0] == digests[1]

    def test_experts_with_successive_seeds_are_what_they_are_alone(self, tmp_path):
        real = easy_bundle(60)
        runs = train_expert(real, tmp_path / "both", **SMALL, experts=2, seed=4)
        alone = train_small_expert(real, tmp_path / "alone", seed=5)
        assert [run.folder.name for run in runs] == ["expert-0", "expert-1"]
        assert read_files(runs[1].folder) == read_files(alone.folder)

    def test_a_whitening_expert_keeps_the_zca_of_its_images(self, tmp_path):
        real = make_bundle(images=40)
        run = train_small_expert(real, tmp_path / "run", zca=True)
        mean, matrix = whitening.fit(real.images)
        assert np.array_equal(run.whitening()["mean"], mean)
        assert np.array_equal(run.whitening()["matrix"], matrix)
        assert network_of(run.about, run).prepare.whitening is not None


class TestResuming:
    OPTIONS = SMALL | {
        "net": "convnet-d1:width=4,norm=batch",
        "epochs": 3,
        "save_every": 0.5,
        "augment": "flip+crop",
        "optimizer": "sgd:lr=0.05,momentum=0.9",
    }

    def test_a_killed_run_goes_on_to_the_same_bytes(self, tmp_path):
        real = make_bundle(images=40)
        train_expert(real, tmp_path / "whole", **self.OPTIONS)
        for num_checkpoints in (2, 1):
            with pytest.raises(KeyboardInterrupt):
                train_expert(
                    real,
                    tmp_path / "killed",
                    **self.OPTIONS,
                    reporter=StopAfter(num_checkpoints),
                )
            assert (tmp_path / "killed" / "resume.pt").exists()
        train_expert(real, tmp_path / "killed", **self.OPTIONS)
        assert read_files(tmp_path / "killed") == read_files(tmp_path / "whole")

    def test_only_runs_that_are_not_complete_are_made(self, tmp_path):
        real = make_bundle(images=40)
        train_expert(real, tmp_path, **SMALL)[0].folder.rename(tmp_path.with_name("other"))
        folder = tmp_path.with_name("runs")
        train_expert(real, folder, **SMALL, experts=2)
        (folder / "expert-1" / "metrics.jsonl").unlink()
        runs = train_expert(real, folder, **SMALL, experts=2)
        assert [run.folder.name for run in runs] == ["expert-1"]

    def test_a_damaged_resume_file_is_named(self, tmp_path):
        real = make_bundle(images=40)
        with pytest.raises(KeyboardInterrupt):
            train_expert(real, tmp_path / "run", **self.OPTIONS, reporter=StopAfter(1))
        (tmp_path / "run" / "resume.pt").write_bytes(b"no")
        with pytest.raises(InvalidInputError, match=r"resume\.pt"):
            train_expert(real, tmp_path / "run", **self.OPTIONS)

    def test_a_state_of_another_run_is_refused(self, tmp_path):
        real = make_bundle(images=40)
        for name, seed in (("run", 0), ("other", 1)):
            with pytest.raises(KeyboardInterrupt):
                train_expert(
                    real, tmp_path / name, **self.OPTIONS, seed=seed, reporter=StopAfter(1)
                )
        shutil.copy(tmp_path / "other" / "resume.pt", tmp_path / "run" / "resume.pt")
        with pytest.raises(IncompatibleError, match=r"resume\.pt"):
            train_expert(real, tmp_path / "run", **self.OPTIONS)

    def test_a_state_whose_records_are_lost_is_refused(self, tmp_path):
        real = make_bundle(images=40)
        with pytest.raises(KeyboardInterrupt):
            train_expert(real, tmp_path / "run", **self.OPTIONS, reporter=StopAfter(2))
        metrics = tmp_path / "run" / "metrics.jsonl"
        metrics.write_bytes(metrics.read_bytes().splitlines(keepends=True)[0])
        with pytest.raises(InvalidInputError, match=r"metrics\.jsonl"):
            train_expert(real, tmp_path / "run", **self.OPTIONS)

    def test_a_folder_with_only_a_dead_temporary_file_is_a_new_one(self, tmp_path):
        real = make_bundle(images=40)
        whole = train_small_expert(real, tmp_path / "whole").folder
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / ".expert.json.1-0a1b2c3d.part").write_text("{")
        assert read_files(train_small_expert(real, tmp_path / "run").folder) == read_files(whole)

    def test_a_complete_run_is_cleared_of_temporary_files(self, tmp_path):
        real = make_bundle(images=40)
        before = read_files(train_small_expert(real, tmp_path).folder)
        (tmp_path / ".resume.pt.1-0a1b2c3d.part").touch()
        with pytest.raises(OutputExistsError):
            train_small_expert(real, tmp_path)
        assert read_files(tmp_path) == before

    def test_a_run_that_another_process_trains_is_refused(self, tmp_path):
        real = make_bundle(images=40)
        with locked_folder(tmp_path), pytest.raises(OutputExistsError, match=tmp_path.name):
            train_small_expert(real, tmp_path)
        assert list(tmp_path.iterdir()) == []


class TestInputs:
    def test_a_path_and_an_object_give_the_same_run(self, tmp_path):
        real = make_bundle(images=40)
        formats.write(str(tmp_path / "real.safetensors"), real)
        from_object = train_small_expert(real, tmp_path / "object")
        from_path = train_small_expert(tmp_path / "real.safetensors", tmp_path / "path")
        assert read_files(from_object.folder) == read_files(from_path.folder)

    @pytest.mark.parametrize("options", [{"size": 9}, {"workers": 1}])
    def test_options_for_folders_are_refused_for_a_bundle(self, tmp_path, options):
        (name,) = options
        with pytest.raises(UsageError, match=name):
            train_small_expert(make_bundle(), tmp_path / "run", **options)

    def test_the_size_of_a_bundles_images_may_be_given(self, tmp_path):
        train_small_expert(make_bundle(), tmp_path / "run", size=8)

    def test_a_folder_needs_a_size(self, tmp_path):
        with pytest.raises(UsageError, match="size"):
            train_small_expert(tmp_path, tmp_path / "run")

    def test_two_standard_inputs_are_refused(self, tmp_path):
        with pytest.raises(UsageError):
            train_small_expert("-", tmp_path / "run", test="-")

    def test_test_images_of_other_classes_are_refused(self, tmp_path):
        test = replace(make_bundle(), classes=("x", "y", "z"))
        with pytest.raises(IncompatibleError):
            train_small_expert(make_bundle(), tmp_path / "run", test=test)
        assert not (tmp_path / "run").exists()

    def test_training_that_diverges_stops(self, tmp_path):
        with pytest.raises(InvalidInputError, match="--optimizer"):
            train_small_expert(make_bundle(), tmp_path / "run", optimizer="sgd:lr=1e30", epochs=9)


class TestCommandLine:
    def test_the_path_of_every_run_is_printed(self, cli, digits):
        words = ["train-expert", "real.safetensors", "both", *TINY, "--experts", 2]
        done = cli(*words, "--batch-size", 300)
        assert done.out.decode().split() == ["both/expert-0", "both/expert-1"]
        assert done.err.count(b"epoch 2: loss") == 2

    def test_json_has_the_records_of_the_checkpoints(self, cli, digits):
        words = ["train-expert", "real.safetensors", "new", *TINY, "--batch-size", 300]
        done = cli(*words, "--test", "test.safetensors", "--json")
        metrics = ExpertRun(digits / "new").metrics()
        assert json.loads(done.out) == {"out": "new", "checkpoints": metrics}
        assert "test_accuracy" in metrics[0]
        assert metrics[0]["test"] == formats.read_header("test.safetensors").digest

    def test_a_killed_run_goes_on_from_its_last_checkpoint(self, cli, digits):
        options = {"net": "convnet-d1:width=4", "epochs": 2, "precision": "fp32"}
        with pytest.raises(KeyboardInterrupt):
            train_expert(
                "real.safetensors", "new", **options, batch_size=300, reporter=StopAfter(1)
            )
        words = ["train-expert", "real.safetensors", "new", *TINY, "--batch-size", 300]
        stderr = cli(*words).err.decode()
        assert stderr.startswith("new: ")
        assert "epoch 1:" not in stderr
        assert "epoch 2:" in stderr
