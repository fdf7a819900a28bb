"""Which network fits foreign weights: by names, by order, and what is said where none does."""

from __future__ import annotations

import pytest
from networks import build_network

from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.methods.nets.layers import Found, Layer
from ddlabel.methods.nets.matching import all_specs, fitting, match


def layers_of(spec, *, size=32, classes=10, channels=3):
    body = build_network(spec, size=size, classes=classes, channels=channels).body
    return [Layer(name, tuple(tensor.shape)) for name, tensor in body.state_dict().items()]


def parameters_of(spec, **shape):
    body = build_network(spec, **shape).body
    return Found(
        [
            Layer(f"parameter {number}", tuple(parameter.shape))
            for number, parameter in enumerate(body.parameters())
        ],
        has_names=False,
    )


def renamed(layers):
    """The layers under the names of another program, which keeps the roles."""
    return [Layer(f"block.{n}.{layer.role}", layer.shape) for n, layer in enumerate(layers)]


FIELD = [
    ("convnet-d3", 32),
    ("convnet-d3:norm=batch,width=32", 32),
    ("alexnet", 32),
    ("vgg11:norm=batch", 64),
    ("resnet18", 32),
    ("vit", 32),
    ("vit", 64),
    ("resnet18-modified", 32),
]


@pytest.mark.parametrize(("spec", "size"), FIELD)
def test_a_network_of_the_field_is_found_by_the_shapes(spec, size):
    layers = layers_of(spec, size=size)
    exact, *_ = fitting(found := Found(layers), all_specs(found), [size], 10)
    # DC's ResNet18 with batch norm and RDED's modified one are the same network.
    equal = {"resnet18-modified": "resnet18:norm=batch"}
    assert (exact.spec, exact.is_exact) == (equal.get(spec, spec), True)
    by_order, *_ = fitting(found := Found(renamed(layers)), all_specs(found), [size], 10)
    assert (by_order.spec, by_order.is_exact) == (exact.spec, False)


def test_parameters_alone_are_of_the_network_without_batch_norm():
    found = parameters_of("convnet-d3:norm=batch")
    specs = [fit.spec for fit in fitting(found, all_specs(found), [32], 10)]
    assert specs == ["convnet-d3", "convnet-d3:norm=group"]


def test_without_a_size_every_size_that_fits_is_found():
    found = Found(layers_of("convnet-d3"))
    fits = fitting(found, ["convnet-d3"], (28, 32, 64), 10)
    assert [(fit.size, fit.channels) for fit in fits] == [(28, 3), (32, 3)]  # 28 px are padded


def test_weights_are_taken_by_name_whatever_their_order():
    layers = layers_of("convnet-d1:width=4")
    found = Found(layers[::-1], in_order=False)
    names = match(layers, found)
    assert names == {layer.name: layer.name for layer in layers}


def test_counters_of_updates_are_not_needed():
    layers = layers_of("convnet-d1:norm=batch,width=4")
    given = [layer for layer in layers if layer.role != "num_batches_tracked"]
    assert len(given) < len(layers)
    assert match(layers, Found(renamed(given))) is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda layers: layers[:-1], "9.bias [10] is missing"),
        # Its neighbours have the same shape: the names tell which one.
        (lambda layers: [*layers[:2], *layers[3:]], "32: 1.weight [128] is missing"),
        (lambda layers: [*layers, Layer("extra.bias", (7,))], "extra.bias [7] has no place"),
        (
            lambda layers: [Layer("first.weight", (128, 3, 5, 5)), *layers[1:]],
            "first.weight is [128, 3, 5, 5], expected [128, 3, 3, 3]",
        ),
        (
            lambda layers: [*layers[:2], Layer("n.bias", (128,)), *layers[3:]],
            "n.bias is in the place of 1.weight",
        ),
    ],
)
def test_the_layers_that_differ_are_named(change, said):
    found = Found(change(layers_of("convnet-d2")))
    with pytest.raises(IncompatibleError) as error:
        fitting(found, ["convnet-d2"], [32], 10)
    assert said in str(error.value)


def test_a_long_list_of_differences_is_cut():
    with pytest.raises(IncompatibleError, match=r"; and \d+ more$"):
        fitting(Found(layers_of("convnet-d3:width=8")), ["convnet-d3"], [32], 10)


def test_batch_norm_without_its_statistics_is_said():
    found = parameters_of("torchvision-resnet18")
    with pytest.raises(IncompatibleError, match=r"torchvision-resnet18.*running_mean"):
        fitting(found, all_specs(found), [32], 10)


def test_a_network_that_does_not_take_the_images_is_a_wrong_option():
    with pytest.raises(UsageError, match="convnet-d6"):
        fitting(Found(layers_of("convnet-d3")), ["convnet-d6"], [32], 10)
