"""Named conventions of normalisation."""

from __future__ import annotations

import pytest
from torchvision.models import ResNet18_Weights

from ddlabel.core.errors import UsageError
from ddlabel.core.normalisation import conventions


def test_imagenet_is_that_of_torchvision():
    transform = ResNet18_Weights.IMAGENET1K_V1.transforms()
    assert [*conventions["imagenet"].mean] == transform.mean
    assert [*conventions["imagenet"].std] == transform.std


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [  # METHODS, section 4
        ("cifar10-mtt", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ("cifar-edc", (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    ],
)
def test_conventions_of_cifar(name, mean, std):
    assert conventions[name][1:3] == (mean, std)


def test_every_convention_has_a_source_and_numbers_in_unit_space():
    for name, mean, std, source in conventions.values():
        assert len(mean) == len(std) in (1, 3), name
        assert all(0 <= value < 1 for value in mean), name
        assert all(0 < value <= 1 for value in std), name
        assert source


def test_one_number_is_for_every_channel_and_three_are_for_three():
    assert conventions["none"].of_channels(3) == ((0, 0, 0), (1, 1, 1))
    assert conventions["mnist-mtt"].of_channels(1) == ((0.1307,), (0.3081,))
    with pytest.raises(UsageError, match="--normalise"):
        conventions["imagenet"].of_channels(1)


def test_numbers_are_found_by_their_convention():
    assert conventions.name_of(*conventions["cifar-edc"][1:3]) == "cifar-edc"
    assert conventions.name_of((0.1307,) * 3, (0.3081,) * 3) == "mnist-mtt"
    assert conventions.name_of((0.5,), (0.25,)) is None
