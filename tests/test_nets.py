from __future__ import annotations

import numpy as np
import pytest
import torch

from ddlabel import whitening
from ddlabel.errors import UsageError
from ddlabel.nets import build, nets
from ddlabel.nets.prepare import Prepare, normalisation


def made(spec, *, channels=3, size=32, classes=10, seed=0):
    return build(
        spec,
        normalisation((0.5,) * channels, (0.2,) * channels),
        channels=channels,
        size=size,
        classes=classes,
        seed=seed,
    )


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("spec", "size", "classes", "parameters"),
    [
        ("convnet-d3", 32, 10, 320_010),
        ("convnet-d4", 64, 200, 857_160),
        ("convnet-d5", 128, 10, 615_690),
        ("convnet-d6", 128, 100, 794_340),
        # torchvision's ResNet18 has 11,689,512 with 1000 classes; here the stem is 3·64·9 instead of 3·64·49 weights
        # and the last layer 513·10 instead of 513·1000.
        ("resnet18-modified", 32, 10, 11_689_512 - 3 * 64 * (49 - 9) - 513 * 990),
    ],
)
def test_parameters_are_those_of_the_field(spec, size, classes, parameters):
    assert count(made(spec, size=size, classes=classes)) == parameters


@pytest.mark.parametrize("norm", ["instance", "batch", "group", "layer", "none"])
def test_every_norm_trains_and_predicts(norm):
    network = made(f"convnet-d2:norm={norm},width=8", size=16)
    assert network(torch.rand(4, 3, 16, 16)).shape == (4, 10)


@pytest.mark.parametrize("name", nets)
@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3), (64, 3)])
def test_every_network_takes_a_training_step(name, size, channels):
    if name == "convnet-d6" and size < 64:
        with pytest.raises(UsageError, match="shallower"):
            made(name, size=size, channels=channels)
        return
    network = made(name, size=size, channels=channels, classes=7)
    network(torch.rand(2, channels, size, size)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_weights_are_a_function_of_the_seed_and_leave_the_global_generator_alone():
    torch.default_generator.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (made("convnet-d1:width=4", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["body.0.weight"], other["body.0.weight"])


def test_normalisation_by_hand():
    prepare = normalisation((0.5, 0.25), (0.5, 0.125))
    out = prepare(torch.tensor([[[[1.0]], [[0.5]]]]))
    assert out.flatten().tolist() == [1.0, 2.0]


def test_whitening_layer_makes_covariance_s_over_s_plus_epsilon():
    # Whitened data have covariance U S/(S + ε) Uᵀ.
    generator = np.random.default_rng(0)
    images = (generator.normal(size=(500, 4)) @ generator.normal(size=(4, 4))).reshape(500, 1, 2, 2).astype(np.float32)
    mean, matrix = whitening.fit(images)
    white = Prepare(torch.from_numpy(mean), torch.ones(1), torch.from_numpy(matrix))(torch.from_numpy(images))
    values, vectors = np.linalg.eigh(np.cov(images.reshape(500, 4).T))
    expected = vectors @ np.diag(values / (values + 0.1)) @ vectors.T
    np.testing.assert_allclose(np.cov(white.flatten(1).numpy().T), expected, atol=1e-4)
