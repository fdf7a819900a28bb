"""RandAugment of batches, against torchvision's for one image."""

from __future__ import annotations

import pytest
import torch
from draws import is_even
from simulated_gpu import simulated_gpu
from torchvision.transforms import InterpolationMode, RandAugment
from torchvision.transforms.autoaugment import _apply_op

from ddlabel.core.errors import UsageError
from ddlabel.methods import rand_augment
from ddlabel.methods.augmentations import augment_of
from ddlabel.methods.nets.prepare import Prepare, normalisation

IMAGES = torch.randint(
    256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
# The names of torchvision's RandAugment, in its order.
THEIRS = [*RandAugment()._augmentation_space(31, (32, 32))]


def theirs(name, magnitude, sign):
    """What torchvision's RandAugment makes of each image with one operation."""
    magnitudes, signed = RandAugment()._augmentation_space(31, (32, 32))[name]
    value = float(magnitudes[magnitude]) if magnitudes.ndim else 0.0
    value *= sign if signed else 1
    changed = [_apply_op(image, name, value, InterpolationMode.NEAREST, None) for image in IMAGES]
    return torch.stack(changed)


@pytest.mark.parametrize("magnitude", [9, 30])
@pytest.mark.parametrize("sign", [1, -1])
def test_every_operation_is_torchvisions(magnitude, sign):
    strengths = rand_augment._strengths(magnitude, 32, 32)
    for ours, name in zip(strengths, THEIRS, strict=True):
        strength = strengths[ours] * (sign if ours in rand_augment.SIGNED else 1)
        changed = rand_augment.OPERATIONS[ours](IMAGES, strength)
        difference = (changed.int() - theirs(name, magnitude, sign).int()).abs()
        # Blends may round by one level in another way.
        assert difference.max() <= 1, name


def test_signed_operations_are_those_of_torchvision():
    space = RandAugment()._augmentation_space(31, (32, 32))
    signed = [name for name, (_, is_signed) in space.items() if is_signed]
    ours = dict(zip(THEIRS, rand_augment.OPERATIONS, strict=True))
    assert {ours[name] for name in signed} == rand_augment.SIGNED


def test_every_image_draws_its_own_operations_and_signs(monkeypatch):
    # Each operation adds its number once per application: images start at 0.
    def marking(number):
        def operation(images, strength):
            return images * 100 + 2 * number + (strength < 0)

        return operation

    operations = {name: marking(i) for i, name in enumerate(rand_augment.OPERATIONS)}
    monkeypatch.setattr(rand_augment, "OPERATIONS", operations)
    many = torch.zeros(14_000, 1, 1, 1)
    marks = rand_augment.rand_augment(many, 1, operations=2, magnitude=9).flatten().int()
    first, second = marks // 100, marks % 100
    for outcomes in (first, second):
        assert is_even((outcomes // 2).tolist(), range(14))
        signed = [i for i, name in enumerate(operations) if name in rand_augment.SIGNED]
        is_signed = torch.isin(outcomes // 2, torch.tensor(signed))
        assert is_even((outcomes % 2)[is_signed].tolist(), [0, 1])
    # The second draw does not depend on the first, nor on the place in the batch.
    assert is_even((second // 2)[first // 2 == 3].tolist(), range(14))
    assert is_even((first // 2)[:2000].tolist(), range(14))


def test_the_preparation_is_undone_for_it():
    unit = IMAGES.float() / 255
    prepare = normalisation((0.5, 0.4, 0.3), (0.25, 0.2, 0.1))
    plain = augment_of("rand-augment", channels=3, size=32)(unit, 5)
    prepared = augment_of("rand-augment", channels=3, size=32, prepare=prepare)(prepare(unit), 5)
    torch.testing.assert_close(prepared, prepare(plain), rtol=1e-5, atol=1e-5)
    assert torch.equal((plain * 255).round(), plain * 255)


@pytest.mark.parametrize("option", ["magnitude=31", "magnitude=-1", "operations=0"])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(UsageError, match=r"magnitude|operations"):
        augment_of(f"rand-augment:{option}", channels=3, size=32)


def test_a_whitening_is_undone_on_the_device_that_it_was_moved_to():
    noise = torch.randn(12, 12, generator=torch.Generator().manual_seed(0))
    prepare = Prepare(torch.tensor(0.5), torch.tensor(0.25), noise)
    unit = torch.rand(2, 3, 2, 2)
    with simulated_gpu():
        for device in ("cpu", "cuda"):
            there = unit.to(device)
            undone = prepare.to(device).undo(prepare(there)).cpu()
            torch.testing.assert_close(undone, unit, rtol=1e-3, atol=1e-3)
