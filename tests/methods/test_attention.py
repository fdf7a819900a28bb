"""GradCAM against a network whose map is known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ddlabel.core.errors import IncompatibleError
from ddlabel.methods.attention import grad_cam
from ddlabel.methods.nets import build
from ddlabel.methods.nets.prepare import normalisation


def known_network(*, inplace: bool = False) -> nn.Module:
    """A 1×1 convolution with two maps, their mean over positions, and a linear layer."""
    convolution = nn.Conv2d(1, 2, 1, bias=False)
    convolution.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    linear = nn.Linear(2, 2, bias=False)
    linear.weight.data = torch.tensor([[3.0, 1.0], [-1.0, 2.0]])
    last = nn.ReLU(inplace=True) if inplace else nn.Identity()
    return nn.Sequential(convolution, last, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)


@pytest.mark.parametrize("label", [0, 1])
def test_the_map_is_that_of_the_closed_form(label):
    image = torch.tensor([[0.0, 1.0], [-2.0, 3.0]]).view(1, 1, 2, 2)
    weights = torch.tensor([[3.0, 1.0], [-1.0, 2.0]])[label] / 4
    maps = torch.stack([image[0, 0], -image[0, 0]])
    expected = (weights[:, None, None] * maps).sum(0).relu()
    attention = grad_cam(known_network(), image, torch.tensor([label]))
    torch.testing.assert_close(attention[0], expected / expected.max())


def test_by_default_it_explains_the_predicted_class():
    network = known_network()
    images = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    predicted = network(images).argmax(1)
    torch.testing.assert_close(grad_cam(network, images), grad_cam(network, images, predicted))


def test_layers_that_work_in_place_change_nothing():
    image = torch.tensor([[1.0, 2.0], [0.5, 3.0]]).view(1, 1, 2, 2)
    attention = grad_cam(known_network(inplace=True), image, torch.tensor([0]))
    # Only the first map is positive, with the weight 3/4 at every position.
    torch.testing.assert_close(attention[0], image[0, 0] / 3)


def test_a_map_without_evidence_is_zero():
    image = -torch.ones(1, 1, 2, 2)
    attention = grad_cam(known_network(), image, torch.tensor([0]))
    assert attention.abs().max() == 0


def test_images_and_networks_are_left_as_they_were():
    network = known_network()
    images = torch.ones(1, 1, 2, 2)
    grad_cam(network, images)
    assert not images.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("net", ["convnet-d2:width=4", "resnet18", "vgg11"])
def test_networks_of_the_field_have_maps_of_the_size_of_the_images(net):
    prepare = normalisation((0.0,), (1.0,))
    network = build(net, prepare, channels=1, size=32, num_classes=3, seed=0).eval()
    attention = grad_cam(network.body, torch.rand(2, 1, 32, 32))
    assert attention.shape == (2, 32, 32)
    assert 0 <= attention.min() <= attention.max() <= 1 + 1e-6


def test_a_transformer_has_no_such_maps():
    prepare = normalisation((0.0,), (1.0,))
    network = build("vit:depth=1,width=16", prepare, channels=1, size=32, num_classes=3, seed=0)
    with pytest.raises(IncompatibleError, match="convolution"):
        grad_cam(network.body, torch.rand(1, 1, 32, 32))
