"""A finished expert run goes on to more epochs: to the bytes of a fresh run, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from experts import SMALL, read_files
from listener import Listener
from samples import make_bundle

from ddlabel.commands.reporter import SILENT, Reporter
from ddlabel.commands.train_expert import train_expert
from ddlabel.core.errors import IncompatibleError, InvalidInputError, OutputExistsError
from ddlabel.data.expert_run import ExpertRun
from ddlabel.methods.optimizers import keeps_state
from ddlabel.training.resume import save_state
from ddlabel.training.runtime import Runtime, Work

PLAIN = SMALL | {
    "net": "convnet-d1:width=4,norm=batch",
    "epochs": 2,
    "augment": "flip+crop",
    "optimizer": "sgd:lr=0.05,momentum=0,weight-decay=1e-3",
}
MOMENTUM = {"optimizer": "sgd:lr=0.05,momentum=0.9"}
REAL = make_bundle(images=25)


def train(folder: Path, reporter: Reporter = SILENT, **changes) -> dict[str, bytes]:
    train_expert(REAL, folder, **PLAIN | changes, reporter=reporter)
    return read_files(folder)


class StopAtFirstLine(Reporter):
    """Interrupts a command when it reports a line that begins like this."""

    def __init__(self, start: str) -> None:
        self.start = start

    def note(self, text: str) -> None:
        if text.startswith(self.start):
            raise KeyboardInterrupt


@pytest.fixture
def done(tmp_path) -> Path:
    """A finished run of two epochs."""
    train(tmp_path / "run")
    return tmp_path / "run"


class TestSameBytes:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"save_every": 0.5},
            {"test": make_bundle(images=9)},
            {"zca": True},
            {"experts": 2},
            {"warm_up": 1.0},
            {"schedule": "step:every=0.25,factor=1"},
            {"schedule": "half-drop"},
            MOMENTUM,
            MOMENTUM | {"save_every": 0.5, "experts": 2},
            {"optimizer": "adamw:lr=0.01"},
        ],
        ids=lambda options: "+".join(options) or "defaults",
    )
    def test_a_run_that_goes_on_is_a_fresh_one_of_more_epochs(self, tmp_path, options):
        train(tmp_path / "run", **options)
        longer = options | {"epochs": 4}
        assert train(tmp_path / "run", **longer) == train(tmp_path / "fresh", **longer)

    def test_the_epochs_that_are_done_are_not_trained_again(self, done):
        listener = Listener()
        train(done, epochs=3, reporter=listener)
        assert listener.notes[0] == f"{done}: going on after its 2 epochs"
        assert [note.split(":")[0] for note in listener.notes[1:]] == ["epoch 3"]

    @pytest.mark.parametrize("killed_at", ["before the first step", "epoch 3", "epoch 4"])
    @pytest.mark.parametrize("options", [{}, MOMENTUM], ids=["plain", "momentum"])
    def test_one_that_is_killed_while_it_goes_on_goes_on_again(
        self, tmp_path, monkeypatch, options, killed_at
    ):
        done = tmp_path / "run"
        train(done, **options)

        def stop(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            if killed_at == "before the first step":
                patch.setattr("ddlabel.commands.expert_training.resume", stop)
            with pytest.raises(KeyboardInterrupt):
                train(done, epochs=4, reporter=StopAtFirstLine(killed_at), **options)
        listener = Listener()
        files = train(done, epochs=4, reporter=listener, **options)
        assert not any(note.startswith("epoch 2") for note in listener.notes)
        assert files == train(tmp_path / "fresh", epochs=4, **options)

    def test_one_that_is_killed_before_its_first_new_state_goes_on_from_the_old_one(
        self, tmp_path, monkeypatch
    ):
        train(tmp_path / "run", **MOMENTUM)

        def stop(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("ddlabel.commands.expert_state.save_training", stop)
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path / "run", epochs=4, **MOMENTUM)
        assert len(ExpertRun(tmp_path / "run").saved_metrics()) == 3
        files = train(tmp_path / "run", epochs=4, **MOMENTUM)
        assert files == train(tmp_path / "fresh", epochs=4, **MOMENTUM)

    def test_a_killed_run_without_its_state_goes_on_from_its_last_checkpoint(self, tmp_path, done):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run-2", StopAtFirstLine("epoch 1"))
        (tmp_path / "run-2" / "resume.pt").unlink()
        listener = Listener()
        assert train(tmp_path / "run-2", listener) == read_files(done)
        assert [note.split(":")[0] for note in listener.notes] == ["epoch 2"]

    def test_a_run_killed_between_its_last_two_files_is_finished(self, tmp_path, monkeypatch):
        def save_and_stop(path, state):
            save_state(path, state)
            if path.name == "optimizer.pt":
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("ddlabel.commands.expert_state.save_state", save_and_stop)
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path / "run", **MOMENTUM)
        names = read_files(tmp_path / "run").keys()
        assert {"resume.pt", "optimizer.pt"} <= names
        assert train(tmp_path / "run", **MOMENTUM) == train(tmp_path / "fresh", **MOMENTUM)

    def test_it_goes_on_more_than_once(self, tmp_path, done):
        train(done, epochs=3)
        assert train(done, epochs=5) == train(tmp_path / "fresh", epochs=5)


class TestRefusals:
    """What would have other bytes is refused, with the reason, and nothing is changed."""

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"schedule": "cosine"}, "learning rate of epoch 2 .*--schedule cosine"),
            ({"schedule": "multistep"}, "learning rate of epoch 2 .*--schedule multistep"),
            (MOMENTUM | {"schedule": "cosine"}, "learning rate of epoch 2 .*--schedule cosine"),
            ({"save_every": 0.75}, "--save-every 0.75 has no checkpoint at epoch 2"),
        ],
    )
    def test_a_run_that_depends_on_its_length_or_on_a_state(self, tmp_path, options, reason):
        before = train(tmp_path / "run", **options)
        with pytest.raises(IncompatibleError, match=reason):
            train(tmp_path / "run", **options, epochs=3)
        assert read_files(tmp_path / "run") == before

    def test_a_state_that_is_gone_or_of_another_run(self, tmp_path):
        train(tmp_path / "run", **MOMENTUM)
        train(tmp_path / "other", **MOMENTUM, seed=1)
        state = tmp_path / "run" / "optimizer.pt"
        state.unlink()
        with pytest.raises(IncompatibleError, match=r"has a state, and .*optimizer\.pt"):
            train(tmp_path / "run", **MOMENTUM, epochs=3)
        shutil.copy(tmp_path / "other" / "optimizer.pt", state)
        with pytest.raises(IncompatibleError, match="is of another run"):
            train(tmp_path / "run", **MOMENTUM, epochs=3)

    def test_a_damaged_state(self, tmp_path):
        before = train(tmp_path / "run", **MOMENTUM)["optimizer.pt"]
        (tmp_path / "run" / "optimizer.pt").write_bytes(before[:-1] + b"x")
        with pytest.raises(InvalidInputError, match=r"optimizer\.pt.*sha256"):
            train(tmp_path / "run", **MOMENTUM, epochs=3)

    def test_other_test_images(self, done):
        with pytest.raises(IncompatibleError, match="--test"):
            train(done, epochs=3, test=make_bundle(images=9))

    def test_another_environment(self, done):
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(threads + 1)
            with pytest.raises(IncompatibleError, match="other threads"):
                train(done, epochs=3)
        finally:
            torch.set_num_threads(threads)

    def test_a_length_that_is_compiled(self, done, monkeypatch):
        def work(runtime, body, *, num_images, **_):
            return Work(compiles=num_images > 60, precision="fp32")

        monkeypatch.setattr(Runtime, "work", work)
        with pytest.raises(IncompatibleError, match="--compile off"):
            train(done, epochs=3)

    def test_fewer_epochs(self, done):
        before = read_files(done)
        with pytest.raises(IncompatibleError, match=r"--epochs 1: .* holds a run of 2 epochs"):
            train(done, epochs=1)
        assert read_files(done) == before

    def test_the_same_epochs(self, done):
        with pytest.raises(OutputExistsError):
            train(done)

    def test_another_option_too(self, done):
        with pytest.raises(IncompatibleError, match=r"holds another run: --epochs 2 .*--seed 0"):
            train(done, epochs=3, seed=1)

    def test_an_unfinished_run(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", StopAtFirstLine("epoch 1"))
        with pytest.raises(IncompatibleError, match="finish it with --epochs 2 first"):
            train(tmp_path / "run", epochs=3)

    @pytest.mark.parametrize("damage", ["last checkpoint", "records"])
    def test_damage_is_found_before_anything_is_changed(self, done, damage):
        run = ExpertRun(done)
        if damage == "records":
            run.save_metrics(run.metrics()[1:])
        else:
            max(done.glob("step-*")).write_bytes(b"no")
        before = read_files(done)
        with pytest.raises(InvalidInputError, match=r"metrics\.jsonl|step-"):
            train(done, epochs=3)
        assert read_files(done) == before

    def test_the_second_expert_is_checked_before_the_first_one_goes_on(self, tmp_path):
        train(tmp_path, experts=2)
        shutil.rmtree(tmp_path / "expert-1")
        train(tmp_path / "expert-1", seed=1, test=make_bundle(images=9))
        before = read_files(tmp_path)
        with pytest.raises(IncompatibleError, match="expert-1"):
            train(tmp_path, experts=2, epochs=3)
        assert read_files(tmp_path) == before


def test_only_an_optimizer_with_a_state_leaves_a_file(tmp_path):
    assert "optimizer.pt" not in train(tmp_path / "plain")
    assert "optimizer.pt" in train(tmp_path / "momentum", **MOMENTUM)


@pytest.mark.parametrize(
    ("spec", "keeps"),
    [
        ("sgd:momentum=0", False),
        ("sgd:momentum=0,weight-decay=1e-3,decay-norms=false", False),
        ("sgd", True),
        ("adam", True),
        ("adamw", True),
        ("rmsprop", True),
        ("lion", True),
    ],
)
def test_which_optimizers_keep_a_state(spec, keeps):
    assert keeps_state(spec) is keeps
