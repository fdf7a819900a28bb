"""What commands warn of in one line where they meet it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from listener import Listener
from samples import make_bundle, with_arrays

import ddlabel
from ddlabel.commands.label_report import report_labels
from ddlabel.commands.learned_pixels import learned_with_hard_labels
from ddlabel.data.provenance import Entry


def warnings_of_labels(agreement: float, num_images: int) -> list[str]:
    """The warnings of soft labels over five classes that agree with a share of the hard ones."""
    bundle = make_bundle(images=num_images, classes=5)
    shift = np.arange(num_images) >= agreement * num_images
    labels = np.eye(5, dtype=np.float32)[(bundle.hard_labels + shift) % 5]
    lines = Listener()
    report_labels(with_arrays(bundle, soft_labels=labels), "soft", lines)
    return lines.warnings


def test_labels_that_agree_by_chance_are_warned_of():
    (line,) = warnings_of_labels(0.2, 100)
    assert "no more often than chance (20.0 %)" in line


@pytest.mark.parametrize(("agreement", "num_images"), [(0.4, 100), (0.2, 20)])
def test_better_labels_and_few_images_are_not(agreement, num_images):
    assert warnings_of_labels(agreement, num_images) == []


@pytest.mark.parametrize("num_shared", [0, 2])
def test_test_images_among_the_images_are_warned_of(num_shared):
    few, test = make_bundle(), make_bundle(seed=1)
    images = np.array(few.images)
    images[3 : 3 + num_shared] = test.images[5 : 5 + num_shared]
    lines = Listener()
    ddlabel.evaluate(
        replace(few, images=images),
        test=test,
        net="convnet-d1:width=4",
        epochs=1,
        seeds=1,
        precision="fp32",
        reporter=lines,
    )
    expected = ["warning: 2 images are test images (number 3 is number 5 of the test set)"]
    assert [line.partition(":")[0] + ":" + line.split(":")[1] for line in lines.warnings] == (
        expected if num_shared else []
    )


def test_learned_pixels_that_came_with_hard_labels_alone_are_known_by_their_levels():
    bundle = replace(make_bundle(images=20), soft=None)
    levels = (bundle.images / 255).astype(np.float32)
    shaken = levels + np.random.default_rng(0).normal(0, 0.05, levels.shape).astype(np.float32)
    unit = replace(bundle.pixels, space="unit")
    learned = replace(bundle, images=shaken, pixels=unit)
    assert learned_with_hard_labels(learned)
    assert not learned_with_hard_labels(bundle)
    assert not learned_with_hard_labels(replace(bundle, images=levels, pixels=unit))
    # Labels that came with the images are those that they were learned for.
    soft = make_bundle(images=20).soft
    assert not learned_with_hard_labels(replace(learned, soft=soft))
    entry = Entry(command="relabel", version="1")
    assert learned_with_hard_labels(replace(learned, soft=soft, history=(entry,)))


def test_relabel_says_so_in_one_line(made, tmp_path):
    few = ddlabel.read(made / "few.safetensors")
    images = few.images / np.float32(255) * np.float32(0.9) + np.float32(0.0503)
    learned = replace(few, images=images, pixels=replace(few.pixels, space="unit"))
    for bundle, expected in ((learned, 1), (few, 0)):
        lines = Listener()
        ddlabel.relabel(bundle, expert=made / "expert", epoch=1, reporter=lines)
        said = [line for line in lines.notes if "--labels hard,soft" in line]
        assert len(said) == expected
