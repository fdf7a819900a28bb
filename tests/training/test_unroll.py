"""Unrolled training against finite differences and against torch's optimizers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddlabel.core.errors import UsageError
from ddlabel.data.schema import LabelMeta, Space
from ddlabel.methods.labels.target import Target
from ddlabel.methods.nets import nets
from ddlabel.methods.optimizers import optimizer_of
from ddlabel.training.loop import Batch
from ddlabel.training.unroll import functional_logits, unroll, updates, without_layer_state

UPDATES = ["sgd:lr=0.5,momentum=0.9", "adam:lr=0.05"]


def linear_body() -> nn.Module:
    return fixed(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)))


def convnet_body(norm: str = "instance") -> nn.Module:
    net = nets.resolve(f"convnet-d1:width=3,norm={norm}")
    body = fixed(net(channels=1, size=4, num_classes=2))
    without_layer_state(body)
    return body


def fixed(body: nn.Module) -> nn.Module:
    """The network in float64 with weights that are the same in every run."""
    generator = torch.Generator().manual_seed(1)
    body = body.double()
    with torch.no_grad():
        for parameter in body.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.3 * noise)
    return body


def weights_of(body: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(body.parameters()).detach()


def labels_and_images(num_images: int = 4) -> tuple[Tensor, Tensor]:
    """Label logits [N, 2] and images [N, 1, 4, 4]."""
    settings = {"dtype": torch.float64, "generator": torch.Generator().manual_seed(0)}
    labels = torch.randn(num_images, 2, **settings)
    images = torch.randn(num_images, 1, 4, 4, **settings)
    return labels, images


def pairs(labels: Tensor, images: Tensor, space: Space = "logits") -> Batch:
    """Batches of two images, other ones in each step."""

    def batch(step):
        rows = torch.tensor([step, step + 1]) % len(images)
        return images[rows], Target(hard=rows, values=labels[rows], meta=LabelMeta(space=space))

    return batch


def test_functional_logits_are_those_of_the_network():
    body = convnet_body()
    _, images = labels_and_images()
    torch.testing.assert_close(functional_logits(body, weights_of(body), images), body(images))


@pytest.mark.parametrize("spec", UPDATES)
@pytest.mark.parametrize("space", ["logits", "mass"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_gradient_of_the_labels_is_that_of_finite_differences(spec, space, norm):
    body = convnet_body(norm)
    labels, images = labels_and_images()
    if space == "mass":
        labels = labels.exp()

    def outer_loss(labels: Tensor) -> Tensor:
        batch = pairs(labels, images, space)
        update = updates.resolve(spec)
        trained = unroll(body, weights_of(body), batch, update, steps=4, window=4)
        return F.cross_entropy(functional_logits(body, trained, images), torch.tensor([0, 1, 1, 0]))

    assert torch.autograd.gradcheck(outer_loss, labels.requires_grad_())


def test_gradients_pass_through_attention():
    """Its fused kernels have no second derivative."""
    net = nets.resolve("vit:patch=2,width=4,depth=1,heads=2,mlp=4")
    body = net(channels=1, size=4, num_classes=2)
    without_layer_state(body)
    labels, images = labels_and_images()
    labels = labels.float().requires_grad_()
    batch = pairs(labels, images.float())
    trained = unroll(
        body, weights_of(body), batch, updates.resolve("sgd:lr=0.5"), steps=2, window=2
    )
    (gradient,) = torch.autograd.grad(trained.square().sum(), labels)
    assert bool(gradient.isfinite().all())
    assert bool((gradient[:3] != 0).any())


def test_without_layer_state_batch_norm_normalises_by_the_batch_and_dropout_is_off():
    norm = nn.BatchNorm1d(1)
    body = nn.Sequential(norm, nn.Dropout(0.5))
    without_layer_state(body)
    batch = torch.tensor([[1.0], [3.0]])
    expected = torch.tensor([[-1.0], [1.0]]) / (1 + norm.eps) ** 0.5
    torch.testing.assert_close(body(batch), expected)
    assert not list(body.buffers())


@pytest.mark.parametrize("spec", UPDATES)
@pytest.mark.parametrize("window", [0, 2, 6])
def test_unrolling_trains_as_torch_does(spec, window):
    body = linear_body()
    batch = pairs(*labels_and_images())
    trained = unroll(body, weights_of(body), batch, updates.resolve(spec), steps=6, window=window)
    optimizer = optimizer_of(f"{spec},weight-decay=0", body.parameters())
    for step in range(6):
        inputs, target = batch(step)
        optimizer.zero_grad()
        F.cross_entropy(body(inputs), target.probs()).backward()
        optimizer.step()
    torch.testing.assert_close(trained.detach(), weights_of(body))


def test_a_window_is_a_training_from_where_it_begins():
    body = linear_body()
    labels, images = labels_and_images(6)
    labels.requires_grad_()
    batch = pairs(labels, images)
    update = updates.resolve("sgd:lr=0.5")
    halfway = unroll(body, weights_of(body), batch, update, steps=3, window=0)
    later = unroll(body, halfway, lambda step: batch(step + 3), update, steps=2, window=2)
    windowed = unroll(body, weights_of(body), batch, update, steps=5, window=2)
    (expected,) = torch.autograd.grad(later.square().sum(), labels)
    (gradient,) = torch.autograd.grad(windowed.square().sum(), labels)
    torch.testing.assert_close(gradient, expected)
    # Steps 3 and 4 see the labels 3, 4 and 5: gradients do not pass what came before the window.
    has_gradient = (gradient.abs().sum(1) > 0).tolist()
    assert has_gradient == [False, False, False, True, True, True]


@pytest.mark.parametrize(
    "spec", ["sgd:lr=-1", "sgd:momentum=1", "sgd:momentum=-0.1", "adam:beta1=1", "adam:beta2=1.5"]
)
def test_an_optimizer_that_cannot_work_is_refused(spec):
    body = linear_body()
    batch = pairs(*labels_and_images())
    with pytest.raises(UsageError, match="--inner"):
        unroll(body, weights_of(body), batch, updates.resolve(spec), steps=1, window=1)
