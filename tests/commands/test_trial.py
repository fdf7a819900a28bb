"""`auto`: the choice is that of the best quick students, on real images that are not in the bundle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from samples import make_bundle

from ddlabel.commands import trial
from ddlabel.core.config import RefineOptions, RelabelOptions
from ddlabel.core.errors import IncompatibleError
from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Labels
from ddlabel.data.schema import LabelMeta

QUICK = {"trial_net": "convnet-d1:width=8", "trial_steps": 30, "trials": 2, "compile": "off"}


def striped(images: int, seed: int) -> Bundle:
    """Images whose class is the third of the rows that is bright: a student learns them in a few steps."""
    plain = make_bundle(images=images, size=9, seed=seed)
    pixels = plain.images // 2
    for image, hard in zip(pixels, plain.hard_labels, strict=True):
        image[:, 3 * hard : 3 * hard + 3] += 120
    return replace(plain, images=pixels)


def one_hot(bundle: Bundle, shift: int) -> Bundle:
    labels = np.eye(3, dtype=np.float32)[(bundle.hard_labels + shift) % 3]
    return bundle.with_labels("soft", Labels(values=labels, meta=LabelMeta(space="probs")))


def test_right_labels_win_over_wrong_ones():
    few, real = striped(12, 0), striped(200, 1)
    found = trial.try_out(
        [one_hot(few, 1), one_hot(few, 0)], real, RelabelOptions(**QUICK), "soft", "soft-ce"
    )
    assert found.shape == (2, 2)
    assert found[1].min() > 0.9 > 0.1 > found[0].max()


def test_wrong_labels_are_refined_with_a_large_gamma_and_right_ones_are_left_to_the_students():
    few, real = striped(12, 0), striped(200, 1)
    settled, trials = trial.choose_gamma(
        one_hot(few, 1), RefineOptions(gamma="auto", **QUICK), real
    )
    assert settled.gamma >= 0.5
    assert list(trials) == [f"gamma {gamma:g}" for gamma in trial.GAMMAS]


def test_held_out_images_are_not_in_the_bundle():
    real = striped(40, 0)
    bundle = real.take(np.arange(0, 40, 2))
    held = trial.held_out(bundle, real)
    assert len(held) == 20
    assert not {x.tobytes() for x in held.images} & {x.tobytes() for x in bundle.images}
    with pytest.raises(IncompatibleError, match="none is left"):
        trial.held_out(real, real)


def test_held_out_images_are_known_in_either_pixel_space():
    real = striped(40, 0)
    unit = replace(real.pixels, space="unit")
    bundle = replace(real, images=(real.images / np.float32(255)), pixels=unit).take(np.arange(30))
    assert len(trial.held_out(bundle, real)) == 10


def test_checkpoints_are_spread_over_the_logarithm():
    spread = trial._spread([0.5 * i for i in range(1, 101)])
    assert (spread[0], spread[-1]) == (0.5, 50)
    assert len(spread) <= 12
    assert np.diff(np.log(spread)).max() < 1
    assert trial._spread([3.0]) == [3.0]


def test_auto_names_what_it_tried_and_its_choice(cli, digits):
    words = [
        "--expert",
        "expert",
        "--epoch",
        "auto",
        "--temperature",
        "auto",
        "--real",
        "real.safetensors",
    ]
    quick = ["--trial-net", "convnet-d1:width=4", "--trial-steps", 2, "--trials", 1]
    said = cli("relabel", "few.safetensors", "soft.safetensors", *words, *quick).err.decode()
    assert "epoch 0.5: " in said
    assert "temperature 4: " in said
    chosen = next(line for line in said.splitlines() if line.startswith("auto: expert"))
    from ddlabel.data import formats

    soft = formats.read("soft.safetensors")
    assert chosen == f"auto: {soft.soft.meta.source}, temperature {soft.soft.meta.temperature:g}"
    assert [each.role for each in soft.history[-1].inputs] == ["real", "expert"]
