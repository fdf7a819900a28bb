"""`learn`: the steps down an outer loss, resuming, diverging, and the command."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from learning import FAST, STEEP, real_and_mislabelled
from samples import make_bundle

from ddlabel.commands import learn as learn_module
from ddlabel.commands.learn import learn, learn_labels
from ddlabel.commands.learners import learners
from ddlabel.core.config import LearnOptions
from ddlabel.core.errors import IncompatibleError, InvalidInputError, StorageError, UsageError
from ddlabel.data import formats

pytestmark = pytest.mark.usefixtures("linear_net")

TEST = FAST | {"method": "test"}
BPTT = FAST | {
    "method": "bptt:steps=8,window=5,real-batch=50,vary=true",
    "inner": "adam:lr=0.02",
    "augment": "flip",
    "optimizer": "adam:lr=0.2,weight-decay=0",
}


@pytest.fixture
def learner():
    """Register an outer loss of labels and iteration under the name `test`."""

    def register(outer_loss):
        learners["test"] = lambda task: outer_loss

    yield register
    learners.pop("test", None)


class TestSteps:
    def test_one_steep_step_takes_the_gradient_off(self, learner):
        learner(lambda labels, _: (labels - 3).square().sum())
        options = LearnOptions(**TEST, iterations=1, start="uniform", optimizer=STEEP, clip=1e9)
        labels = learn_labels(make_bundle(), options).soft.values
        np.testing.assert_allclose(labels, 6)

    def test_a_long_gradient_is_shortened(self, learner):
        learner(lambda labels, _: 1e6 * labels.sum())
        options = LearnOptions(**TEST, iterations=1, start="uniform", optimizer=STEEP, clip=0.5)
        labels = learn_labels(make_bundle(), options).soft.values
        assert float(np.linalg.norm(labels)) == pytest.approx(0.5)

    @pytest.mark.parametrize("start", ["hard", "uniform", "stored"])
    def test_labels_begin_as_asked(self, learner, start):
        learner(lambda labels, _: 0 * labels.sum())
        bundle = make_bundle(classes=3)
        options = LearnOptions(**TEST, iterations=1, start=start)
        labels = torch.from_numpy(learn_labels(bundle, options).soft.values).softmax(1)
        expected = {
            "hard": np.where(np.eye(3)[bundle.hard_labels] == 1, 0.9, 0.05),
            "uniform": np.full((12, 3), 1 / 3),
            "stored": torch.from_numpy(bundle.soft.values).softmax(1).numpy(),
        }
        np.testing.assert_allclose(labels, expected[start], rtol=1e-5)

    def test_the_mean_loss_since_the_last_save_is_saved(self, learner):
        learner(lambda labels, iteration: 0 * labels.sum() + iteration)
        states: list[dict] = []
        learn_labels(
            make_bundle(), LearnOptions(**TEST, iterations=5, save_every=2), save=states.append
        )
        assert [state["iteration"] for state in states] == [2, 4]
        assert [state["loss"] for state in states] == [0.5, 2.5]


class TestResuming:
    def test_a_run_goes_on_to_the_same_bytes(self):
        real, wrong = real_and_mislabelled()
        states: list[dict] = []
        options = LearnOptions(**BPTT, iterations=6, save_every=2)
        whole = learn_labels(wrong, options, real=real, save=states.append)
        assert [state["iteration"] for state in states] == [2, 4, 6]
        for state in states:
            resumed = learn_labels(wrong, options, real=real, state=state)
            assert resumed.soft.values.tobytes() == whole.soft.values.tobytes()

    def test_fewer_iterations_than_are_done_are_refused(self):
        real, wrong = real_and_mislabelled()
        states: list[dict] = []
        options = LearnOptions(**BPTT, iterations=4, save_every=4)
        learn_labels(wrong, options, real=real, save=states.append)
        with pytest.raises(UsageError, match="--iterations"):
            learn_labels(wrong, replace(options, iterations=3), real=real, state=states[0])

    def test_the_public_function_goes_on_from_a_file(self, tmp_path, monkeypatch):
        real, wrong = real_and_mislabelled()
        options = BPTT | {"iterations": 4, "save_every": 2}
        whole = learn(wrong, real=real, **options)
        resume = tmp_path / "state"
        interrupt_after_first_save(monkeypatch)
        with pytest.raises(StorageError):
            learn(wrong, resume, real=real, **options)
        monkeypatch.undo()
        assert resume.exists()
        assert learn(wrong, resume, real=real, **options).digest == whole.digest
        with pytest.raises(IncompatibleError, match="state"):
            learn(wrong, resume, real=real, **options, seed=1)


def interrupt_after_first_save(monkeypatch) -> None:
    """Let the run stop, as if killed, when its state is saved for the first time."""
    save_state = learn_module.save_state

    def save_and_stop(path, state):
        save_state(path, state)
        raise StorageError("the disk is full")

    monkeypatch.setattr(learn_module, "save_state", save_and_stop)


class TestDivergence:
    @pytest.mark.parametrize("broken", [float("nan"), float("inf")])
    def test_it_stops_where_it_appears_and_keeps_what_was_learned(self, broken, learner):
        learner(lambda labels, iteration: labels.square().sum() * (broken if iteration == 3 else 1))
        bundle = make_bundle()
        states: list[dict] = []
        options = LearnOptions(**TEST, iterations=9)
        with pytest.raises(InvalidInputError, match="--iterations 3"):
            learn_labels(bundle, options, save=states.append)
        three = replace(options, iterations=3)
        kept = learn_labels(bundle, three, state=states[0]).soft.values
        assert kept.tobytes() == learn_labels(bundle, three).soft.values.tobytes()

    def test_nothing_is_saved_if_the_first_iteration_diverges(self, learner):
        learner(lambda labels, _: labels.sum() * float("nan"))
        states: list[dict] = []
        with pytest.raises(InvalidInputError, match="iteration 0"):
            learn_labels(make_bundle(), LearnOptions(**TEST), save=states.append)
        assert states == []


class TestCommandLine:
    WORDS = ("--real", "real.safetensors", "--net", "linear", "--method", "bptt:steps=4,window=2")

    @pytest.fixture(autouse=True)
    def bundles(self, cli):
        real, wrong = real_and_mislabelled()
        formats.write("real.safetensors", real)
        formats.write("few.safetensors", wrong)

    def learn(self, cli, out: str, *words, code: int = 0) -> bytes:
        """Run the command and return its standard error."""
        common = [*self.WORDS, "--iterations", 4, "--save-every", 2]
        return cli("learn", "few.safetensors", out, *common, *words, code=code).err

    def test_it_reports_the_loss_and_records_what_was_learned_from(self, cli, tmp_path):
        assert b"iteration 2: outer loss" in self.learn(cli, "out.safetensors")
        assert not list(tmp_path.glob("*.resume"))
        entry = formats.read("out.safetensors").history[-1]
        inputs = [(given.role, given.name) for given in entry.inputs]
        assert (entry.command, inputs) == ("learn", [("real", "real.safetensors")])

    def test_a_killed_run_goes_on_to_the_same_bytes(self, cli, tmp_path, monkeypatch):
        self.learn(cli, "whole.safetensors")
        with monkeypatch.context() as patch:
            interrupt_after_first_save(patch)
            self.learn(cli, "out.safetensors", code=7)
        assert (tmp_path / "out.safetensors.resume").exists()
        assert b"out.safetensors.resume" in self.learn(cli, "out.safetensors", "--seed", 1, code=5)
        assert b"going on from iteration 2" in self.learn(cli, "out.safetensors")
        whole, resumed = tmp_path / "whole.safetensors", tmp_path / "out.safetensors"
        assert resumed.read_bytes() == whole.read_bytes()
        assert not list(tmp_path.glob("*.resume"))

    def test_divergence_is_an_error_of_the_input(self, cli):
        assert b"--inner" in self.learn(cli, "out.safetensors", "--inner", "sgd:lr=1e30", code=3)

    def test_a_damaged_resume_file_is_named(self, cli, tmp_path):
        (tmp_path / "out.safetensors.resume").write_bytes(b"no")
        assert b"out.safetensors.resume" in self.learn(cli, "out.safetensors", code=3)
