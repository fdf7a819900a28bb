"""`learn`: the steps down an outer loss, resuming, diverging, and the command."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from experts import write_run
from learning import FAST, STEEP, learned, real_and_mislabelled
from samples import make_bundle
from torch import nn

from ddlabel.commands import learn as learn_module
from ddlabel.commands.label_learning import learn_labels
from ddlabel.commands.learn import learn
from ddlabel.commands.learners import Objective, StepSize, learners
from ddlabel.core.config import LearnOptions
from ddlabel.core.errors import IncompatibleError, InvalidInputError, StorageError, UsageError
from ddlabel.data import formats
from ddlabel.data.labels import Labels
from ddlabel.data.schema import LabelMeta

pytestmark = pytest.mark.usefixtures("linear_net")

TEST = FAST | {"method": "test"}
LOGITS = {"space": "logits"}
ONE_STEP = {"iterations": 1, "start": "uniform", "optimizer": STEEP, "clip": 0}
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
        learners["test"] = lambda task: Objective(loss=outer_loss)

    yield register
    learners.pop("test", None)


class TestSteps:
    def test_one_steep_step_takes_the_gradient_off(self, learner):
        learner(lambda labels, _: (labels - 3).square().sum())
        labels = learned(make_bundle(), LearnOptions(**TEST, **LOGITS, **ONE_STEP))
        np.testing.assert_allclose(labels.values, 6)
        assert labels.meta.space == "logits"

    def test_probabilities_stop_at_0_and_may_have_any_sum(self, learner):
        """From ⅓ the step −(−2, 0, 1) leads to 2⅓, ⅓ and −⅔."""
        learner(lambda labels, _: (labels * torch.tensor([-2.0, 0, 1])).sum())
        labels = learned(make_bundle(classes=3), LearnOptions(**TEST, **ONE_STEP))
        np.testing.assert_allclose(labels.values, [[7 / 3, 1 / 3, 0]] * 12, rtol=1e-6)
        assert labels.meta.space == "mass"

    @pytest.mark.parametrize(("clip", "last"), [(2, 2 * (0.9 + 0.1 * 10)), (0, 10), (9, 10)])
    def test_a_gradient_much_longer_than_those_before_is_shortened(self, learner, clip, last):
        """Norms 1 and 10: after the second, the running mean is 0.9 · 1 + 0.1 · 10."""
        learner(lambda labels, iteration: [1, 10][iteration] * labels[0, 0])
        options = LearnOptions(**TEST, **LOGITS, **(ONE_STEP | {"iterations": 2, "clip": clip}))
        labels = learned(make_bundle(), options).values
        assert float(np.linalg.norm(labels)) == pytest.approx(1 + last)

    @pytest.mark.parametrize("start", ["hard", "uniform", "stored"])
    @pytest.mark.parametrize("space", ["probs", "logits"])
    def test_labels_begin_as_asked(self, learner, start, space):
        learner(lambda labels, _: 0 * labels.sum())
        bundle = make_bundle(classes=3)
        options = LearnOptions(**TEST, iterations=1, start=start, space=space)
        labels = learned(bundle, options).probs()
        hard, other = (1, 0) if space == "probs" else (0.9, 0.05)
        expected = {
            "hard": np.where(np.eye(3)[bundle.hard_labels] == 1, hard, other),
            "uniform": np.full((12, 3), 1 / 3),
            "stored": bundle.soft.probs(),
        }
        np.testing.assert_allclose(labels, expected[start], rtol=1e-5)

    @pytest.mark.parametrize("space", ["probs", "logits"])
    def test_stored_labels_without_mass_are_refused(self, learner, space):
        learner(lambda labels, _: 0 * labels.sum())
        values = np.full((12, 3), 0.2, np.float32)
        values[[4, 7]] = 0
        bundle = make_bundle(classes=3)
        empty = bundle.with_labels("soft", Labels(values=values, meta=LabelMeta(space="mass")))
        with pytest.raises(InvalidInputError, match=r"2 images have no mass .* image 4"):
            learn_labels(empty, LearnOptions(**TEST, start="stored", space=space))

    def test_a_step_size_is_learned_with_the_labels(self, learner):
        """L = (a − 3)² from a = 1 at rate 0.1 with momentum ½: gradients −4 and −3.2."""
        step_size = nn.Parameter(torch.tensor(1.0))
        learners["test"] = lambda task: Objective(
            loss=lambda labels, _: (step_size - 3) ** 2 + 0 * labels.sum(),
            step_size=StepSize(value=step_size, lr=0.1),
        )
        states: list[dict] = []
        options = LearnOptions(**TEST, iterations=2, save_every=1)
        learn_labels(make_bundle(), options, save=states.append)
        found = [state["lr"] for state in states]
        assert found == pytest.approx([1.4, 1.4 + 0.32 + 0.2])
        step_size.data.fill_(0)
        learn_labels(make_bundle(), options, state=states[0])
        assert step_size.tolist() == pytest.approx(found[1])

    def test_a_step_size_that_falls_to_0_is_refused(self, learner):
        step_size = nn.Parameter(torch.tensor(1.0))
        learners["test"] = lambda task: Objective(
            loss=lambda labels, _: step_size + 0 * labels.sum(),
            step_size=StepSize(value=step_size, lr=2),
        )
        with pytest.raises(InvalidInputError, match="iteration 0"):
            learn_labels(make_bundle(), LearnOptions(**TEST))
        assert step_size.tolist() == 1

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
        whole = learned(wrong, options, real=real, save=states.append)
        assert [state["iteration"] for state in states] == [2, 4, 6]
        for state in states:
            resumed = learned(wrong, options, real=real, state=state)
            assert resumed.values.tobytes() == whole.values.tobytes()

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


class TestProtocols:
    def test_a_row_presets_what_the_user_leaves_open_and_the_history_says_so(self, tmp_path):
        bundle = make_bundle(images=10, classes=10, size=32, channels=3)
        write_run(tmp_path / "run", bundle, net="linear", steps=2)
        options = {"iterations": 1, "batch_size": 5, "expert": str(tmp_path / "run")}
        learned = learn(bundle, protocol="label-worth-mtt", device="cpu", **options)
        entry = learned.history[-1]
        method = "mtt:steps=50,ahead=2,latest=1,lr=0.01,lr-lr=1e-7"
        assert entry.facts["preset"] == {"method": method}
        assert 0 < entry.facts["learned_lr"] != 0.01
        recorded = [
            entry.options[name] for name in ("protocol", "iterations", "batch_size", "clip")
        ]
        assert recorded == ["label-worth-mtt", 1, 5, 0]

    def test_images_for_which_a_protocol_has_no_row_are_refused(self):
        bundle = make_bundle(images=20, classes=10, size=32, channels=3)
        with pytest.raises(UsageError, match=r"no --method for ipc 2.*give --method"):
            learn(bundle, protocol="label-worth-bptt", real=bundle)


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
        kept = learned(bundle, three, state=states[0]).values
        assert kept.tobytes() == learned(bundle, three).values.tobytes()

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
