"""The selector `rded`, against patches that are cut and stitched by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from samples import make_bundle
from scipy.special import log_softmax
from stub_experts import Brightness, StubExperts, class_rows, run_selector, two_layers

from ddlabel.commands.selectors import selectors
from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import Pixels
from ddlabel.methods.labels import views


def stitch(patches: list) -> np.ndarray:
    """Four patches [C, h, w] as one image: two above, two below."""
    first, second, third, fourth = patches
    upper = np.concatenate([first, second], 2)
    lower = np.concatenate([third, fourth], 2)
    return np.concatenate([upper, lower], 1)


def test_whole_images_are_stitched_the_best_of_each_quarter_first():
    bundle, network = make_bundle(1200), two_layers()
    with torch.no_grad():
        logits = network(torch.from_numpy(bundle.images).float() / 255).double().numpy()
    losses = -log_softmax(logits, axis=1)[np.arange(1200), bundle.hard_labels]
    selected = run_selector(
        "rded:factor=2,images=400,low=1,crops=1,pad=false", bundle, StubExperts(network), ipc=2
    )
    halves = bundle.images.astype(float).reshape(-1, 1, 4, 2, 4, 2).mean((3, 5))
    for number in range(3):
        of_class = class_rows(bundle, number)
        best = of_class[np.argsort(losses[of_class])][:8]
        for place in range(2):
            expected = stitch(list(halves[best[place::2]]))
            # A quarter of a sum may lie halfway between two bytes: either is right.
            assert np.abs(selected.images[2 * number + place] - expected).max() <= 0.5
    assert (selected.images.dtype, selected.images.shape) == (np.uint8, (6, 1, 8, 8))
    assert selected.hard_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert set(selected.arrays) == {"images", "hard_labels"}


def cuts_of(image: np.ndarray, boxes: torch.Tensor) -> torch.Tensor:
    """The parts of an image [1, 12, 12] in boxes of pixels, each at the image's size."""
    cuts = []
    for top, left, bottom, right in boxes.tolist():
        part = torch.from_numpy(image)[None, :, top:bottom, left:right]
        cuts.append(F.interpolate(part, (12, 12), mode="bilinear", align_corners=False))
    return torch.cat(cuts)


def test_the_crop_of_each_image_is_the_one_that_the_expert_finds_easiest(monkeypatch):
    bundle = Bundle(
        classes=("a",),
        pixels=Pixels(space="unit", mean=(0.5,), std=(0.25,)),
        images=np.random.default_rng(0).random((4, 1, 12, 12), np.float32),
        hard_labels=np.zeros(4, np.int64),
    )
    drawn = []
    draw_boxes = views.draw_boxes

    def record_boxes(*arguments, **options):
        drawn.append(draw_boxes(*arguments, **options))
        return drawn[-1]

    monkeypatch.setattr(views, "draw_boxes", record_boxes)
    network = two_layers(num_inputs=144)
    selected = run_selector(
        "rded:factor=2,low=0.25,crops=6,pad=false", bundle, StubExperts(network), ipc=1
    )
    boxes = (torch.stack(drawn) * 12).round().int()
    sides = boxes[..., 2:] - boxes[..., :2]
    assert torch.equal(sides[..., 0], sides[..., 1])
    assert sides.min() >= 6
    assert len(boxes.flatten(0, 1).unique(dim=0)) > 10
    patches = []
    for number in range(4):
        cuts = cuts_of(bundle.images[number], boxes[:, number])
        with torch.no_grad():
            losses = F.cross_entropy(
                network(cuts).double(), torch.zeros(6, dtype=torch.int64), reduction="none"
            )
        patches.append((float(losses.min()), F.avg_pool2d(cuts[losses.argmin()], 2).numpy()))
    patches.sort(key=lambda patch: patch[0])
    expected = stitch([patch for _, patch in patches])
    np.testing.assert_allclose(selected.images[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "factor"), [(32, 1), (64, 1), (128, 2), (224, 2)])
def test_factor_and_other_defaults_are_those_of_the_scripts(size, factor):
    # RandomResizedCrop's scale; scripts: --mipc 300 --num-crop 5, --factor by data set.
    options = {entry.name: entry.options for entry in selectors.entries()}["rded"]
    assert options == {
        "factor": None,
        "images": 300,
        "crops": 5,
        "low": 0.08,
        "high": 1.0,
        "ratio": 1.0,
        "pad": True,
    }
    bundle = make_bundle(8, classes=2, size=size)
    made = [
        run_selector(f"rded:crops=1{option}", bundle, StubExperts(Brightness()), ipc=1).images
        for option in ("", f",factor={factor}", f",factor={3 - factor}")
    ]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_only_some_random_images_of_each_class_are_seen():
    bundle = make_bundle(36)
    experts = StubExperts(two_layers())
    run_selector("rded:factor=1,images=5,crops=2", bundle, experts, ipc=2)
    assert experts.num_labelled == 3 * 5 * 2


def test_experts_see_a_padded_patch_in_the_middle_of_the_mean_colour():
    seen = []

    class Recorder(torch.nn.Module):
        def forward(self, images):
            seen.append(images)
            return torch.zeros(len(images), 2)

    pixels = Pixels(space="uint8", mean=(0.2, 0.4, 0.6), std=(0.25,) * 3)
    bundle = replace(make_bundle(8, classes=2, size=12, channels=3), pixels=pixels)
    run_selector("rded:factor=2,low=1,crops=1", bundle, StubExperts(Recorder()), ipc=1)
    (images,) = seen
    halves = bundle.images.reshape(8, 3, 6, 2, 6, 2).mean((3, 5)) / 255
    # Class by class, each in the order of its rows.
    halves = halves[np.argsort(bundle.hard_labels, kind="stable")]
    np.testing.assert_allclose(images[:, :, 3:9, 3:9], halves, atol=1e-6)
    border = images.clone()
    border[:, :, 3:9, 3:9] = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1)
    assert (border == torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1)).all()


def test_the_patches_depend_on_the_seed_alone():
    bundle = make_bundle(36)
    first, same, other = (
        run_selector("rded:factor=2", bundle, StubExperts(two_layers()), ipc=2, seed=seed).images
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("rded:factor=3", "3 × 3"),
        ("rded:low=0", "low"),
        ("rded:crops=0", "crops"),
        ("rded:low=0.5,high=0.4", "high"),
        ("rded:ratio=0.5", "ratio"),
        ("rded:factor=1,images=1", "images is 1: expected at least the 2"),
        # A class has four images, and two of them are eight patches.
        ("rded:factor=2", "--ipc"),
    ],
)
def test_images_that_cannot_be_cut_are_refused_before_they_are_labelled(bundle, spec, name):
    experts = StubExperts(two_layers())
    with pytest.raises(UsageError, match=name):
        run_selector(spec, bundle, experts, ipc=2)
    assert experts.num_labelled == 0
