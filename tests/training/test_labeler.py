"""Labels of experts: one network, and the three ways to combine several."""

from __future__ import annotations

import pytest
import torch
from networks import SHAPE, cpu_runtime, random_images
from torch import Tensor

from ddlabel.core import rng
from ddlabel.core.errors import IncompatibleError
from ddlabel.data.expert_run import Checkpoint, ExpertInfo, ExpertRun
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training.labeler import Labeler, combine, expert_cost, network_of

# Two experts and one image. The norms of the logits are 5 and 10.
LOGITS = torch.tensor([[[3.0, 4.0, 0.0]], [[0.0, 0.0, 10.0]]])
EQUAL = torch.tensor([0.5, 0.5])
UNEQUAL = torch.tensor([0.75, 0.25])


def make_run(folder, *, net="convnet-d1:width=4", seed=0, mean=0.5) -> ExpertRun:
    """An expert run with one checkpoint, its weights as they were drawn."""
    info = ExpertInfo(
        net=net,
        classes=("a", "b", "c"),
        channels=1,
        size=8,
        mean=(mean,),
        std=(0.25,),
        zca=False,
        seed=seed,
        steps_per_epoch=1,
        steps=1,
        data="",
        options={},
    )
    run = ExpertRun.create(folder, info)
    state = network_of(info).body.state_dict()
    weights = {name: tensor.numpy() for name, tensor in state.items()}
    run.save_metrics([{"step": 1, "sha256": run.save_weights(1, weights)}])
    return run


def expected_logits(run: ExpertRun, images: Tensor) -> Tensor:
    """The network of a run by hand: normalise, then the body."""
    body = network_of(run.about).body.eval()
    with torch.no_grad():
        return body((images - run.about.mean[0]) / run.about.std[0])


def label(runs: list[ExpertRun], images: Tensor, **options) -> Tensor:
    checkpoints = [Checkpoint(run, 1) for run in runs]
    labeler = Labeler(checkpoints, cpu_runtime(), num_images=len(images), **options)
    return labeler(images)


class TestCombine:
    def test_the_mean_of_logits_has_weights(self):
        assert combine(LOGITS, UNEQUAL, mean="logits").tolist() == [[2.25, 3.0, 2.5]]

    def test_balanced_logits_have_the_experts_mean_norm_each(self):
        # The mean norm is 7.5: the first expert is scaled by 1.5, the second by 0.75.
        combined = combine(LOGITS, EQUAL, mean="balanced")
        assert combined[0].tolist() == pytest.approx([2.25, 3.0, 3.75])

    def test_balanced_logits_that_are_all_zero_stay_zero(self):
        assert combine(torch.zeros(2, 1, 3), EQUAL, mean="balanced").tolist() == [[0, 0, 0]]

    @pytest.mark.parametrize("temperature", [1.0, 4.0])
    def test_the_mean_of_probabilities_is_what_the_label_says(self, temperature):
        combined = combine(LOGITS, UNEQUAL, mean="probs", temperature=temperature)
        first, second = (LOGITS / temperature).softmax(2)
        probs = (combined / temperature).softmax(1)
        torch.testing.assert_close(probs, 0.75 * first + 0.25 * second)

    @pytest.mark.parametrize("mean", ["logits", "probs", "balanced"])
    def test_an_ensemble_of_one_is_its_expert(self, mean):
        combined = combine(LOGITS[:1], torch.ones(1), mean=mean, temperature=2.0)
        torch.testing.assert_close((combined / 2).softmax(1), (LOGITS[0] / 2).softmax(1))


class TestLabeler:
    def test_labels_are_the_logits_of_the_network(self, tmp_path):
        run = make_run(tmp_path / "run")
        images = random_images(5, *SHAPE)
        torch.testing.assert_close(label([run], images), expected_logits(run, images))

    def test_many_images_are_labelled_in_chunks_to_the_same_logits(self, tmp_path):
        run = make_run(tmp_path / "run")
        images = random_images(1500, *SHAPE)  # a chunk has 1024 images of 8 px
        torch.testing.assert_close(label([run], images), expected_logits(run, images))

    @pytest.mark.parametrize("weights", [(), (1.0, 1.0), (3.0, 1.0)])
    def test_an_ensemble_is_the_weighted_mean(self, tmp_path, weights):
        runs = [make_run(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
        images = random_images(5, *SHAPE)
        first, second = (expected_logits(run, images) for run in runs)
        share = 0.75 if weights == (3.0, 1.0) else 0.5
        expected = share * first + (1 - share) * second
        torch.testing.assert_close(label(runs, images, weights=weights), expected)

    def test_every_expert_normalises_for_itself(self, tmp_path):
        runs = [make_run(tmp_path / str(mean), mean=mean) for mean in (0.5, 0.1)]
        images = random_images(5, *SHAPE)
        expected = sum(expected_logits(run, images) for run in runs) / 2
        torch.testing.assert_close(label(runs, images), expected)

    @pytest.mark.parametrize("student_mean", [0.5, 0.2])
    def test_images_prepared_for_a_student_get_the_labels_of_the_raw_images(
        self, tmp_path, student_mean
    ):
        runs = [make_run(tmp_path / str(mean), mean=mean) for mean in (0.5, 0.1)]
        labeler = Labeler([Checkpoint(run, 1) for run in runs], cpu_runtime(), num_images=5)
        prepare = normalisation([student_mean], [0.25])
        images = random_images(5, *SHAPE)
        labels = labeler.after(prepare)(prepare(images))
        torch.testing.assert_close(labels, labeler(images), rtol=1e-4, atol=1e-5)

    def test_labels_have_no_gradient(self, tmp_path):
        run = make_run(tmp_path / "run")
        labeler = Labeler([Checkpoint(run, 1)], cpu_runtime(), num_images=2)
        images = random_images(2, *SHAPE).requires_grad_()
        assert not labeler(images).requires_grad
        assert not labeler.after(normalisation([0.5], [0.25]))(images).requires_grad

    def test_weights_of_another_network_are_refused(self, tmp_path):
        run = make_run(tmp_path / "run")
        wide = {"1.weight": torch.zeros(3, 5).numpy()}
        run.save_metrics([{"step": 1, "sha256": run.save_weights(1, wide)}])
        with pytest.raises(IncompatibleError, match="run"):
            Labeler([Checkpoint(run, 1)], cpu_runtime(), num_images=1)


def test_fresh_weights_are_those_of_the_seed(tmp_path):
    run = make_run(tmp_path / "run", seed=4)
    first, second = (network_of(run.about).body.state_dict() for _ in range(2))
    other = network_of(make_run(tmp_path / "other", seed=5).about).body.state_dict()
    assert rng.stream(4, "weights") != rng.stream(5, "weights")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_flops_of_an_expert_are_countable_by_hand(tmp_path):
    # 3 × 3 × 4 multiplications at 64 places, and 4 × 16 inputs of 3 classes; as many additions.
    info = make_run(tmp_path / "run").about
    assert expert_cost(info, backward=False).flops == 2 * (9 * 4 * 64 + 3 * 64)
