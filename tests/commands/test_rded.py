"""The selector `rded`, against patches that are cut and stitched by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from samples import make_bundle
from scipy.special import log_softmax
from stub_experts import StubExperts, class_rows, run_selector, two_layers

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
    selected = run_selector("rded:low=1,crops=1", bundle, StubExperts(network), ipc=2)
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
    selected = run_selector("rded:low=0.25,crops=6", bundle, StubExperts(network), ipc=1)
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


def test_the_patches_depend_on_the_seed_alone():
    bundle = make_bundle(36)
    first, same, other = (
        run_selector("rded", bundle, StubExperts(two_layers()), ipc=2, seed=seed).images
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
        ("rded", "--ipc"),  # a class has four images, and two of them are eight patches
    ],
)
def test_images_that_cannot_be_cut_are_refused_before_they_are_labelled(bundle, spec, name):
    experts = StubExperts(two_layers())
    with pytest.raises(UsageError, match=name):
        run_selector(spec, bundle, experts, ipc=2)
    assert experts.num_labelled == 0
