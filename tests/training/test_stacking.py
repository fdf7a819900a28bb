"""A stack of networks against the networks one by one."""

from __future__ import annotations

import pytest
import torch
from networks import SHAPE, build_body, random_images

from ddlabel.methods.nets import build, nets
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training.stacking import stackable, stacked


@pytest.mark.parametrize("num_networks", [1, 3])
@pytest.mark.parametrize(
    "spec", ["convnet-d1:width=8", "convnet-d2:norm=batch,width=4", "resnet18-modified"]
)
def test_logits_gradients_and_running_means_are_those_of_each_network(spec, num_networks):
    alone = [build_body(spec, seed=seed) for seed in range(num_networks)]
    together = [build_body(spec, seed=seed) for seed in range(num_networks)]
    images = random_images(num_networks, 4, *SHAPE)
    logits = stacked(together)(images)
    logits.square().sum().backward()
    for number, expected_body in enumerate(alone):
        expected = expected_body(images[number])
        expected.square().sum().backward()
        torch.testing.assert_close(logits[number], expected, rtol=1e-4, atol=1e-4)
        body = together[number]
        for (name, parameter), other in zip(
            body.named_parameters(), expected_body.parameters(), strict=True
        ):
            torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-3, msg=name)
        for (name, buffer), other in zip(
            body.named_buffers(), expected_body.buffers(), strict=True
        ):
            torch.testing.assert_close(buffer, other, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_batch_norms_take_images_in_half_precision(dtype):
    bodies = [torch.nn.Sequential(torch.nn.BatchNorm2d(1)) for _ in range(2)]
    images = random_images(2, 4, *SHAPE).to(dtype)
    with torch.autocast("cpu", dtype):
        logits = stacked(bodies)(images)
        logits.square().sum().backward()
    for number, body in enumerate(bodies):
        expected = torch.nn.BatchNorm2d(1)(images[number].float())
        torch.testing.assert_close(logits[number], expected)
        assert body[0].weight.grad is not None


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (torch.nn.ReLU(), True),
        (torch.nn.Dropout(0.5), False),
        (torch.nn.Dropout(0.0), True),
        (torch.nn.MultiheadAttention(4, 1), False),
    ],
)
def test_layers_that_draw_numbers_and_attention_are_not_stacked(layer, expected):
    assert stackable(torch.nn.Sequential(torch.nn.Flatten(), layer)) == expected


def test_convnets_are_stacked_and_vit_with_its_dropout_is_not():
    assert stackable(build_body())
    assert not stackable(build_body("vit", size=32))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in nets if name != "timm:NAME"])
def test_every_network_stacks_or_says_that_it_does_not(name):
    prepare = normalisation([0.5] * 3, [0.25] * 3)
    networks = [
        build(name, prepare, channels=3, size=64, num_classes=3, seed=seed) for seed in (0, 1)
    ]
    bodies = [network.body.eval() for network in networks]
    if not stackable(bodies[0]):
        assert not name.startswith(("convnet", "resnet"))
        return
    images = random_images(2, 2, 3, 64, 64)
    with torch.no_grad():
        expected = torch.stack([body(x) for body, x in zip(bodies, images, strict=True)])
        torch.testing.assert_close(stacked(bodies)(images), expected, rtol=1e-3, atol=1e-3)
