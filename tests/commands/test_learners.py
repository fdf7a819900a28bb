"""The learners `bptt` and `mtt`, against closed forms, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from experts import write_run
from learning import FAST, STEEP, learned, real_and_mislabelled
from samples import make_bundle, with_arrays

from ddlabel.commands.learn import learn_labels
from ddlabel.core import rng
from ddlabel.core.config import LearnOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertRun
from ddlabel.methods.nets import Network, build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training.labeler import network_of

pytestmark = pytest.mark.usefixtures("linear_net")

# mtt trains the experts' own network: `net` stays at its default.
MTT = FAST | {"net": LearnOptions.net, "augment": "none"}


def write_expert(folder, bundle: Bundle) -> ExpertRun:
    """A run of a linear network, with checkpoints at epochs 1 and 2."""
    return write_run(folder, bundle, net="linear", steps=2, seed=3)


def run_of_one_step(folder, bundle: Bundle, labels: torch.Tensor) -> ExpertRun:
    """A run that has learned these labels of all images in one step, at rate 0.3."""
    run = write_expert(folder, bundle)
    network = network_of(run.about)
    images = network.prepare(torch.from_numpy(bundle.images).float() / 255)
    F.cross_entropy(network.body(images), labels).backward()
    arrived = {
        name: (parameter - 0.3 * parameter.grad).detach().numpy()
        for name, parameter in network.body.named_parameters()
    }
    first, second = run.metrics()
    run.save_metrics([first | {"sha256": run.save_weights(1, arrived)}, second])
    return run


def fresh_student(bundle: Bundle) -> Network:
    """The student of iteration 0, with seed 0."""
    return build(
        "linear",
        normalisation(bundle.pixels.mean, bundle.pixels.std),
        channels=1,
        size=bundle.side,
        num_classes=bundle.num_classes,
        seed=rng.stream(0, "weights", 0),
    )


def affine(weight, bias) -> np.ndarray:
    """The matrix [K, D + 1] of a linear layer."""
    return np.hstack([weight, bias[:, None]]).astype(float)


class TestMTT:
    def test_one_step_of_a_linear_student_has_the_gradient_of_the_closed_form(self, tmp_path):
        """θ̂ = θ + lr·(p − q)ᵀ[x 1]/N, so ∂loss/∂p = 2·lr·[x 1]·(θ̂ − θ*)ᵀ/N / ‖θ − θ*‖²."""
        bundle = make_bundle(images=4, classes=2, size=4)
        run = write_expert(tmp_path / "run", bundle)
        options = LearnOptions(
            method="mtt:steps=1,ahead=2,latest=0,lr=0.1",  # θ is the fresh network
            iterations=1,
            space="logits",
            start="uniform",
            optimizer=STEEP,
            clip=0,
            **MTT,
        )
        gradient = -learned(bundle, options, experts=[run]).values

        inputs = np.hstack([(bundle.images.reshape(4, -1) / 255 - 0.5) / 0.25, np.ones((4, 1))])
        layer = network_of(run.about).body[1]
        first = affine(layer.weight.detach().numpy(), layer.bias.detach().numpy())
        last = affine(run.weights(2)["1.weight"], run.weights(2)["1.bias"])
        predicted = np.exp(inputs @ first.T)
        predicted /= predicted.sum(1, keepdims=True)
        arrived = first + 0.1 * (0.5 - predicted).T @ inputs / 4
        distance = ((first - last) ** 2).sum()
        of_probs = 2 * 0.1 * inputs @ (arrived - last).T / 4 / distance
        # The derivative of a softmax where both probabilities are ½.
        of_logits = 0.5 * (of_probs - of_probs.mean(1, keepdims=True))
        np.testing.assert_allclose(gradient, of_logits, rtol=1e-4, atol=1e-8)

    @pytest.mark.parametrize(("lr", "expected"), [(0.1, 4 / 9), (0.3, 0), (0.6, 1)])
    def test_the_loss_is_the_share_of_the_way_that_is_left_squared(self, tmp_path, lr, expected):
        """With its labels one step of rate a is a/0.3 of the expert's step: L = (a/0.3 − 1)²."""
        bundle = make_bundle(images=4, classes=2, size=4)
        run = run_of_one_step(tmp_path / "run", bundle, torch.full((4, 2), 0.5))
        options = LearnOptions(
            method=f"mtt:steps=1,latest=0,lr={lr}",
            iterations=1,
            save_every=1,
            start="uniform",
            **MTT,
        )
        states: list[dict] = []
        learn_labels(bundle, options, experts=[run], save=states.append)
        assert states[0]["loss"] == pytest.approx(expected, abs=1e-6)

    def test_the_step_size_is_learned_by_the_closed_form(self, tmp_path):
        """dL/da = 2·(a/0.3 − 1)/0.3: from a = 0.1 a rate of 0.009 leads to 0.14."""
        bundle = make_bundle(images=4, classes=2, size=4)
        run = run_of_one_step(tmp_path / "run", bundle, torch.full((4, 2), 0.5))
        options = LearnOptions(
            method="mtt:steps=1,latest=0,lr=0.1,lr-lr=0.009",
            iterations=1,
            save_every=1,
            start="uniform",
            optimizer="sgd:lr=0,momentum=0,weight-decay=0",
            **MTT,
        )
        states: list[dict] = []
        learn_labels(bundle, options, experts=[run], save=states.append)
        assert states[0]["lr"] == pytest.approx(0.14, rel=1e-5)

    def test_the_labels_of_the_expert_are_found_again(self, tmp_path):
        """The images are independent, so only the expert's own labels lead to its weights."""
        bundle = make_bundle(images=4, classes=2, size=4)
        labels = torch.tensor([[0.8, 0.2], [0.1, 0.9], [0.55, 0.45], [0.3, 0.7]])
        run = run_of_one_step(tmp_path / "run", bundle, labels)
        options = LearnOptions(
            method="mtt:steps=1,latest=0,lr=0.3,lr-lr=0",
            iterations=150,
            start="uniform",
            optimizer="adam:lr=0.03,weight-decay=0",
            **MTT,
        )
        found = learned(bundle, options, experts=[run])
        assert (found.meta.space, found.meta.source) == ("mass", "mtt")
        np.testing.assert_allclose(found.values, labels, atol=0.01)

    @staticmethod
    def imported(run: ExpertRun) -> ExpertRun:
        """The run as if `import-expert` had made it, under a seed that tells nothing."""
        about = replace(run.about, seed=99, options={"sources": ["buffer.pt"]})
        return ExpertRun.create(run.folder, about)

    def distance_left(self, bundle: Bundle, run: ExpertRun, notes: list[str]) -> float:
        """The outer loss of uniform labels at the first iteration, of one step from epoch 0 on."""
        options = LearnOptions(
            method="mtt:steps=1,latest=0,lr=0.3", iterations=1, save_every=1, **MTT
        )
        states: list[dict] = []
        learn_labels(bundle, options, experts=[run], save=states.append, note=notes.append)
        return float(states[0]["loss"])

    def test_an_imported_run_begins_at_its_own_first_weights(self, tmp_path):
        bundle = make_bundle(images=4, classes=2, size=4)
        run = write_expert(tmp_path / "run", bundle)
        notes: list[str] = []
        drawn = self.distance_left(bundle, run, notes)
        # The same first weights, once drawn from the seed and once kept under another seed.
        fresh = {
            name: tensor.numpy() for name, tensor in network_of(run.about).body.state_dict().items()
        }
        records = run.metrics()
        first = {"step": 0, "epoch": 0, "sha256": run.save_weights(0, fresh)}
        run.save_metrics([first, *records])
        kept = self.distance_left(bundle, self.imported(run), notes)
        assert kept == pytest.approx(drawn, rel=1e-6)
        assert notes == []

    def test_an_imported_run_without_first_weights_begins_later_and_says_so(self, tmp_path):
        bundle = make_bundle(images=4, classes=2, size=4)
        run = self.imported(write_expert(tmp_path / "run", bundle))
        notes: list[str] = []
        options = LearnOptions(**MTT | {"method": "mtt:steps=1,latest=1", "iterations": 1})
        learn_labels(bundle, options, experts=[run], note=notes.append)
        assert [note.partition(": ")[2] for note in notes] == [
            "imported without its first weights: students begin at epoch 1"
        ]
        with pytest.raises(UsageError, match=r"up to epoch 0 .*\(epochs 1, 2\)"):
            self.distance_left(bundle, run, notes)

    def test_an_expert_with_batch_norm_is_followed(self, tmp_path):
        bundle = make_bundle(images=4, classes=2, size=4)
        run = write_run(tmp_path / "run", bundle, net="convnet-d1:width=2,norm=batch", steps=2)
        options = LearnOptions(method="mtt:steps=2,latest=0", iterations=1, save_every=1, **MTT)
        states: list[dict] = []
        learn_labels(bundle, options, experts=[run], save=states.append)
        assert np.isfinite(states[0]["loss"])

    def test_weights_of_another_network_are_refused_at_once(self, tmp_path):
        bundle = make_bundle()
        run = write_expert(tmp_path / "run", bundle)
        first, second = run.metrics()
        other = {"0.weight": np.zeros((2, 3), np.float32)}
        run.save_metrics([first | {"sha256": run.save_weights(1, other)}, second])
        with pytest.raises(IncompatibleError, match="step 1 do not fit linear"):
            learn_labels(bundle, LearnOptions(**MTT | {"method": "mtt"}), experts=[run])

    @pytest.mark.parametrize(
        "method", ["mtt:ahead=7", "mtt:steps=0", "mtt:lr=0", "mtt:lr-lr=-1", "mtt:latest=-1"]
    )
    def test_checkpoints_that_cannot_be_followed_are_refused(self, tmp_path, method):
        bundle = make_bundle()
        run = write_expert(tmp_path / "run", bundle)
        with pytest.raises(UsageError, match="mtt"):
            learn_labels(bundle, LearnOptions(**MTT | {"method": method}), experts=[run])

    @pytest.mark.parametrize("name", ["net", "inner"])
    def test_options_of_the_students_of_bptt_are_refused(self, tmp_path, name):
        bundle = make_bundle()
        run = write_expert(tmp_path / "run", bundle)
        options = LearnOptions(**MTT | {"method": "mtt", name: "sgd"})
        with pytest.raises(UsageError, match=f"--{name}"):
            learn_labels(bundle, options, experts=[run])

    def test_an_epoch_of_the_run_is_refused(self, tmp_path):
        bundle = make_bundle()
        write_expert(tmp_path / "run", bundle)
        run = ExpertRun(tmp_path / "run", "1")
        with pytest.raises(UsageError, match="@EPOCH"):
            learn_labels(bundle, LearnOptions(**MTT | {"method": "mtt"}), experts=[run])

    def test_an_expert_of_other_classes_is_refused(self, tmp_path):
        bundle = make_bundle()
        run = write_expert(tmp_path / "run", replace(bundle, classes=("x", "y", "z")))
        with pytest.raises(IncompatibleError):
            learn_labels(bundle, LearnOptions(**MTT | {"method": "mtt"}), experts=[run])


class TestBPTT:
    def test_labels_are_learned_from_real_images_against_wrong_hard_labels(self):
        real, wrong = real_and_mislabelled()
        states: list[dict] = []
        options = LearnOptions(
            **FAST,
            method="bptt:steps=8,window=5,real-batch=50,vary=true",
            inner="adam:lr=0.02",
            augment="flip",
            optimizer="adam:lr=0.2,weight-decay=0",
            iterations=40,
            save_every=5,
        )
        learned = learn_labels(wrong, options, real=real, save=states.append).bundle
        assert learned.soft.values.argmax(1).tolist() == (1 - wrong.hard_labels).tolist()
        assert states[-1]["loss"] < 0.5 * states[0]["loss"]
        assert (learned.soft.meta.space, learned.soft.meta.source) == ("mass", "bptt")
        assert np.array_equal(learned.images, wrong.images)

    def test_the_loss_is_that_of_a_student_trained_by_torch(self):
        """One step of gradient descent on all images, then the loss of real ones that are alike."""
        bundle = make_bundle(images=4, classes=2, size=4)
        real = replace(
            bundle, images=np.repeat(bundle.images[:1], 4, 0), hard_labels=np.ones(4, int)
        )
        options = LearnOptions(
            **FAST,
            method="bptt:steps=1,window=1,real-batch=2",
            inner="sgd:lr=0.5",
            augment="none",
            iterations=1,
            save_every=1,
            start="uniform",
            optimizer=STEEP,
        )
        states: list[dict] = []
        learn_labels(bundle, options, real=real, save=states.append)
        network = fresh_student(bundle)
        images = network.prepare(torch.from_numpy(bundle.images).float() / 255)
        F.cross_entropy(network.body(images), torch.full((4, 2), 0.5)).backward()
        with torch.no_grad():
            for parameter in network.body.parameters():
                parameter -= 0.5 * parameter.grad
            logits = network.body(network.prepare(torch.from_numpy(real.images[:1]).float() / 255))
        expected = F.cross_entropy(logits, torch.tensor([1]))
        assert states[0]["loss"] == pytest.approx(float(expected), rel=1e-5)

    @pytest.mark.parametrize(
        "options",
        [
            {"method": "bptt:steps=5,window=6"},
            {"method": "bptt:window=0"},
            {"method": "bptt:real-batch=0"},
            {"inner": "lion"},
            {"inner": "sgd:lr=-1"},
            {"inner": "adam:beta1=1"},
            {"augment": "crop:padding=-9"},
        ],
    )
    def test_options_out_of_their_range_are_refused(self, options):
        bundle = make_bundle()
        with pytest.raises(UsageError):
            learn_labels(bundle, LearnOptions(**FAST | options), real=bundle)

    def test_real_images_of_another_shape_are_refused(self):
        with pytest.raises(IncompatibleError):
            learn_labels(make_bundle(), LearnOptions(**FAST), real=make_bundle(size=9))


@pytest.mark.parametrize(
    ("method", "has_real", "has_expert", "flag"),
    [
        ("bptt", False, False, "--real"),
        ("mtt", False, False, "--expert"),
        ("mtt", True, True, "--real"),
        ("bptt", True, True, "--expert"),
    ],
)
def test_a_learner_gets_just_what_it_learns_from(tmp_path, method, has_real, has_expert, flag):
    bundle = make_bundle()
    experts = [write_expert(tmp_path / "run", bundle)] if has_expert else []
    real = bundle if has_real else None
    with pytest.raises(UsageError, match=flag):
        learn_labels(bundle, LearnOptions(**FAST | {"method": method}), real=real, experts=experts)


def test_stored_labels_to_begin_with_must_be_there():
    bundle = make_bundle()
    unlabelled = with_arrays(bundle, soft_labels=None, soft=None)
    with pytest.raises(IncompatibleError):
        learn_labels(unlabelled, LearnOptions(**FAST, start="stored"), real=bundle)
