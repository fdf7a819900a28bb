"""Learned labels: gradients against finite differences and closed forms, resuming, diverging, refusing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from samples import make_bundle, with_arrays
from torch import nn

from ddlabel.commands.learn import learn, learners
from ddlabel.core.config import LearnOptions
from ddlabel.core.errors import IncompatibleError, InvalidInputError, StorageError, UsageError
from ddlabel.data import formats
from ddlabel.data.expert_run import ExpertInfo, ExpertRun
from ddlabel.methods.nets import nets
from ddlabel.training import resume as state_file
from ddlabel.training.labeler import network_of

FAST = {"net": "linear", "device": "cpu", "batch_size": 4}
STEEP = "sgd:lr=1,momentum=0,weight-decay=0"  # one iteration gives start − gradient


@pytest.fixture(autouse=True)
def linear():
    def make(*, channels, size, num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, num_classes))

    nets["linear"] = make
    yield
    del nets["linear"]


@pytest.fixture
def learner():
    """A learner of this outer loss of labels and iteration, under the name `test`."""

    def register(outer):
        learners["test"] = lambda task: outer  # noqa: ARG005

    yield register
    learners.pop("test", None)


def expert(path, bundle, steps=2):
    about = ExpertInfo(
        net="linear",
        classes=bundle.classes,
        channels=1,
        size=bundle.images.shape[2],
        mean=(0.5,),
        std=(0.25,),
        zca=False,
        seed=3,
        steps_per_epoch=1,
        steps=steps,
        data="",
        options={},
    )
    run, records = ExpertRun.create(path, about), []
    generator = np.random.default_rng(5)
    for step in range(1, steps + 1):
        shapes = {name: tuple(p.shape) for name, p in network_of(about).body.named_parameters()}
        weights = {
            name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()
        }
        records.append({"step": step, "sha256": run.save_weights(step, weights)})
    run.save_metrics(records)
    return run


def test_one_step_of_a_linear_student_towards_an_expert(tmp_path):
    # θ̂ = θ + lr·(p − q)ᵀ[x 1]/N, so ∂loss/∂p = 2·lr·[x 1]·(θ̂ − θ*)ᵀ/N / ‖θ − θ*‖²; latest=0: θ is the fresh network.
    bundle = make_bundle(images=4, classes=2, size=4)
    run = expert(tmp_path / "run", bundle)
    options = LearnOptions(
        method="mtt:steps=1,ahead=2,latest=0",
        iterations=1,
        start="uniform",
        optimizer=STEEP,
        clip=1e9,
        inner="sgd:lr=0.1",
        **FAST | {"net": LearnOptions.net},
    )
    gradient = -learn(bundle, options, print, experts=[run]).soft.values

    x = np.hstack([(bundle.images.reshape(4, -1) / 255 - 0.5) / 0.25, np.ones((4, 1))])
    layer = network_of(run.about).body[1]
    begin = np.hstack([layer.weight.detach().numpy(), layer.bias.detach().numpy()[:, None]]).astype(
        float
    )
    end = np.hstack([run.weights(2)["1.weight"], run.weights(2)["1.bias"][:, None]]).astype(float)
    q = np.exp(x @ begin.T)
    q /= q.sum(1, keepdims=True)
    arrived = begin + 0.1 * (0.5 - q).T @ x / 4
    of_p = 2 * 0.1 * x @ (arrived - end).T / 4 / ((begin - end) ** 2).sum()
    of_logits = 0.5 * (of_p - of_p.mean(1, keepdims=True))  # softmax where p = ½
    np.testing.assert_allclose(gradient, of_logits, rtol=1e-4, atol=1e-8)


def test_an_expert_that_arrives_where_the_student_does_costs_nothing(tmp_path):
    # One step of the expert itself with the labels that start: the loss is 0, and 1 for a student that stands still.
    bundle = make_bundle(images=4, classes=2, size=4)
    run = expert(tmp_path / "run", bundle)
    losses = []
    for inner in ("sgd:lr=0", "sgd:lr=1"):
        options = LearnOptions(
            method="mtt:steps=1,latest=0",
            iterations=1,
            save_every=1,
            start="uniform",
            inner=inner,
            **FAST | {"net": LearnOptions.net},
        )
        if inner == "sgd:lr=1":
            network = network_of(run.about)
            images = network.prepare(torch.from_numpy(bundle.images).float() / 255)
            F.cross_entropy(network.body(images), torch.full((4, 2), 0.5)).backward()
            moved = {
                name: (p - p.grad).detach().numpy() for name, p in network.body.named_parameters()
            }
            run.save_metrics([{"step": 1, "sha256": run.save_weights(1, moved)}, {"step": 2}])
        learn(bundle, options, lambda state: losses.append(state["loss"]), experts=[run])
    assert losses == pytest.approx([1, 0], abs=1e-6)


def real_and_mislabelled():
    """Bright and dark images with noise; the bundle's four have the wrong hard labels."""
    generator = np.random.default_rng(0)
    real = make_bundle(images=100, classes=2, size=4)
    bright = np.where(real.hard_labels == 0, 190, 60)[:, None, None, None]
    real = replace(
        real, images=(bright + generator.integers(-40, 40, real.images.shape)).astype(np.uint8)
    )
    few = real.take(np.arange(4))
    return real, replace(few, hard_labels=1 - few.hard_labels)


BPTT = {
    "method": "bptt:steps=8,window=5,real-batch=50,vary=true",
    "inner": "adam:lr=0.02",
    "augment": "flip",
    **FAST,
}
QUICK = "adam:lr=0.2,weight-decay=0"


def test_labels_are_learned_from_real_images_against_wrong_ones():
    real, wrong = real_and_mislabelled()
    states = []
    options = LearnOptions(**BPTT, optimizer=QUICK, iterations=40, save_every=5)
    learned = learn(wrong, options, states.append, real=real)
    assert (learned.soft.values.argmax(1) == 1 - wrong.hard_labels).all()
    assert states[-1]["loss"] < 0.5 * states[0]["loss"]
    assert (learned.soft.meta.space, learned.soft.meta.source) == ("logits", "bptt")
    assert (learned.images == wrong.images).all()


def test_a_run_goes_on_to_the_same_bytes():
    real, wrong = real_and_mislabelled()
    states = []
    options = LearnOptions(**BPTT, optimizer=QUICK, iterations=6, save_every=2)
    whole = learn(wrong, options, states.append, real=real)
    assert [state["iteration"] for state in states] == [2, 4, 6]
    for state in states:
        again = learn(wrong, options, print, real=real, state=state)
        assert again.soft.values.tobytes() == whole.soft.values.tobytes()
    with pytest.raises(UsageError, match="4 are done"):
        learn(wrong, replace(options, iterations=3), print, real=real, state=states[1])


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_divergence_stops_where_it_appears_and_keeps_what_was_learned(broken, learner):
    learner(lambda labels, iteration: labels.square().sum() * (broken if iteration == 3 else 1))
    bundle, states = make_bundle(), []
    options = LearnOptions(**FAST | {"method": "test"}, iterations=9)
    with pytest.raises(InvalidInputError, match=r"diverged in iteration 3.*--iterations 3 writes"):
        learn(bundle, options, states.append)
    before = learn(bundle, replace(options, iterations=3), print, state=states[0])
    expected = learn(bundle, replace(options, iterations=3), print)
    assert before.soft.values.tobytes() == expected.soft.values.tobytes()


def test_the_gradient_is_shortened(learner):
    learner(lambda labels, _: 1e6 * labels.sum())
    options = LearnOptions(
        **FAST | {"method": "test"}, iterations=1, start="uniform", optimizer=STEEP, clip=0.5
    )
    labels = learn(make_bundle(), options, print).soft.values
    assert float(np.linalg.norm(labels)) == pytest.approx(0.5)


def test_labels_begin_as_asked(learner):
    learner(lambda labels, _: 0 * labels.sum())
    bundle = make_bundle(classes=3)
    hard, uniform, stored = (
        learn(
            bundle, LearnOptions(**FAST | {"method": "test"}, iterations=1, start=start), print
        ).soft.values
        for start in ("hard", "uniform", "stored")
    )
    smoothed = np.where(np.eye(3)[bundle.hard_labels] == 1, 0.9, 0.05)
    np.testing.assert_allclose(np.exp(hard), smoothed, rtol=1e-5)
    assert not uniform.any()
    soft = torch.from_numpy(bundle.soft.values).log_softmax(1)
    np.testing.assert_allclose(stored, soft, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "given", "error", "message"),
    [
        ({"method": "bptt"}, "", UsageError, "give --real"),
        ({"method": "mtt"}, "", UsageError, "give --expert"),
        ({"method": "mtt"}, "real expert", UsageError, "leave out --real"),
        ({"method": "bptt"}, "real expert", UsageError, "leave out --expert"),
        (
            {"method": "bptt:steps=5,window=6"},
            "real",
            UsageError,
            "window is 6: expected 1 to the number of steps, 5",
        ),
        ({"method": "bptt:window=0"}, "real", UsageError, "window is 0"),
        ({"net": "convnet-d1:norm=batch"}, "real", UsageError, "running statistics"),
        ({"inner": "lion"}, "real", UsageError, "unknown inner optimizer 'lion'"),
        ({"augment": "crop:padding=-9"}, "real", UsageError, "does not work on 8 px"),
        ({"inner": "sgd:lr=-1"}, "real", UsageError, "lr of at least 0"),
        ({"inner": "adam:beta1=1"}, "real", UsageError, "betas from 0 to below 1"),
        ({"method": "bptt:real-batch=0"}, "real", UsageError, "real-batch is 0"),
        ({"method": "mtt"}, "expert", UsageError, "--net is for --method bptt"),
        ({"start": "stored"}, "real unlabelled", IncompatibleError, "no soft labels"),
        ({"method": "bptt"}, "larger", IncompatibleError, r"images \[1, 9, 9\]"),
        (
            {"method": "mtt:ahead=7", "net": LearnOptions.net},
            "expert",
            UsageError,
            "no checkpoint up to epoch 10 has one 7 epochs later",
        ),
        ({"method": "mtt", "net": LearnOptions.net}, "foreign", IncompatibleError, "other classes"),
    ],
)
def test_refusals(options, given, error, message, tmp_path):
    bundle = make_bundle()
    real = make_bundle(size=9) if given == "larger" else bundle if "real" in given else None
    foreign = replace(bundle, classes=("x", "y", "z")) if given == "foreign" else bundle
    experts = (
        [expert(tmp_path / "run", foreign)] if given in ("expert", "foreign", "real expert") else []
    )
    few = with_arrays(bundle, soft_labels=None, soft=None) if "unlabelled" in given else bundle
    with pytest.raises(error, match=message):
        learn(few, LearnOptions(**FAST | options), print, real=real, experts=experts)


def test_the_command_goes_on_refuses_and_cleans_up(cli, tmp_path, monkeypatch):
    real, wrong = real_and_mislabelled()
    formats.write("real.safetensors", real)
    formats.write("few.safetensors", wrong)
    words = [
        "learn",
        "few.safetensors",
        "out.safetensors",
        "--real",
        "real.safetensors",
        "--net",
        "linear",
    ]
    words += ["--method", "bptt:steps=4,window=2", "--iterations", 4, "--save-every", 2]
    whole = [*words[:2], "whole.safetensors", *words[3:]]
    assert b"iteration 2: outer loss" in cli(*whole).err
    assert not list(tmp_path.glob("*.resume"))

    with monkeypatch.context() as patch:
        save = state_file.save_state

        def stop(path, state):
            save(path, state)
            raise StorageError("the disk is full")

        patch.setattr(state_file, "save_state", stop)
        cli(*words, code=7)
    assert b"other options or inputs" in cli(*words, "--seed", 1, code=5).err
    assert b"going on from iteration 2" in cli(*words).err
    assert (tmp_path / "out.safetensors").read_bytes() == (
        tmp_path / "whole.safetensors"
    ).read_bytes()
    assert not list(tmp_path.glob("*.resume"))
    history = formats.read("out.safetensors").history[-1]
    assert (history.command, [(each.role, each.name) for each in history.inputs]) == (
        "learn",
        [("real", "real.safetensors")],
    )

    words[2] = "new.safetensors"
    assert b"diverged in iteration 0" in cli(*words, "--inner", "sgd:lr=1e30", code=3).err
    (tmp_path / "new.safetensors.resume").write_bytes(b"no")
    assert b"new.safetensors.resume: cannot be read" in cli(*words, code=3).err
