"""Networks: parameter counts, training at every size, refusals, and the first layer."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from networks import build_network, check_training, num_parameters
from torch._subclasses.fake_tensor import FakeTensorMode

from ddlabel.core.errors import UsageError
from ddlabel.data import whitening
from ddlabel.methods.nets import nets
from ddlabel.methods.nets.prepare import Prepare, normalisation

# ResNet18 with 10 classes: torchvision's has 11,689,512 parameters with 1000 classes.
RESNET18 = 11_689_512 - 513 * 990
SMALL_STEM = 3 * 64 * (49 - 9)
# The heads of all blocks of a Swin-T; each has a bias for every offset within a window.
SWIN_HEADS = 2 * 3 + 2 * 6 + 6 * 12 + 2 * 24


@pytest.mark.parametrize(
    ("spec", "size", "classes", "parameters"),
    [
        ("convnet-d3", 32, 10, 320_010),
        ("convnet-d4", 64, 200, 857_160),
        ("convnet-d5", 128, 10, 615_690),
        ("convnet-d6", 128, 100, 794_340),
        ("resnet18-ap", 32, 10, RESNET18 - SMALL_STEM + 512 * 15 * 10),
        # torchvision documents these. The slow ones take seconds to initialise large linear layers.
        pytest.param("torchvision-alexnet", 224, 1000, 61_100_840, marks=pytest.mark.slow),
        pytest.param(
            "torchvision-alexnet:stem=small",
            32,
            1000,
            61_100_840 - 3 * 64 * (121 - 25) - 256 * 27 * 4096,
            marks=pytest.mark.slow,
        ),
        pytest.param("torchvision-vgg11", 224, 1000, 132_863_336, marks=pytest.mark.slow),
        pytest.param(
            "torchvision-vgg11:stem=small",
            32,
            1000,
            132_863_336 - 512 * 48 * 4096,
            marks=pytest.mark.slow,
        ),
        pytest.param("torchvision-vit-b-16", 224, 1000, 86_567_656, marks=pytest.mark.slow),
        ("torchvision-resnet18", 224, 1000, 11_689_512),
        ("torchvision-resnet50", 224, 1000, 25_557_032),
        pytest.param("torchvision-resnet101", 224, 1000, 44_549_160, marks=pytest.mark.slow),
        ("torchvision-mobilenet-v2", 64, 1000, 3_504_872),
        ("torchvision-efficientnet-b0", 64, 1000, 5_288_548),
        ("torchvision-swin-t", 64, 1000, 28_288_354),
        ("torchvision-swin-v2-t", 64, 1000, 28_351_570),
        ("resnet18-modified", 32, 10, RESNET18 - SMALL_STEM),
        ("resnet50-modified", 32, 1000, 25_557_032 - SMALL_STEM),
        pytest.param(
            "resnet101-modified", 32, 1000, 44_549_160 - SMALL_STEM, marks=pytest.mark.slow
        ),
        (
            "torchvision-swin-t:stem=small",
            32,
            1000,
            28_288_354 - 3 * 96 * 12 - SWIN_HEADS * (13**2 - 7**2),
        ),
        ("torchvision-swin-v2-t:stem=small", 32, 1000, 28_351_570 - 3 * 96 * 12),
    ],
)
def test_number_of_parameters_is_that_of_the_field(spec, size, classes, parameters):
    assert num_parameters(build_network(spec, size=size, classes=classes)) == parameters


@pytest.mark.parametrize(
    ("norm", "groups"),
    [
        ("instance", "b c (h w)"),
        ("batch", "c (b h w)"),
        ("group", "b g (c h w)"),
        ("layer", "b (c h w)"),
    ],
)
def test_norms_of_the_convnet_standardise_their_groups(norm, groups):
    body = build_network(f"convnet-d2:norm={norm},width=8", size=16).body
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    normalised = body[:2](images)  # [4, 8, 16, 16] after convolution and norm
    grouped = {
        "b c (h w)": normalised.flatten(2),
        "c (b h w)": normalised.transpose(0, 1).flatten(1),
        "b g (c h w)": normalised.view(4, 4, -1),
        "b (c h w)": normalised.flatten(1),
    }[groups]
    torch.testing.assert_close(grouped.mean(-1), torch.zeros(grouped.shape[:-1]), atol=1e-5, rtol=0)
    variance = grouped.var(-1, correction=0)
    # Norms add 1e-5 to the variance, which is about 0.02 here.
    torch.testing.assert_close(variance, torch.ones(variance.shape), atol=0.01, rtol=0)


def test_convnet_without_norm_has_none():
    body = build_network("convnet-d2:norm=none,width=8", size=16).body
    names = [type(layer).__name__ for layer in body]
    assert names == [*["Conv2d", "ReLU", "MeanPool2x2"] * 2, "Flatten", "Float32Linear"]


NAMES = [name for name in nets if name != "timm:NAME"]
LIGHT = ("convnet", "alexnet", "resnet18", "vit", "torchvision-mobilenet")
# Seconds to minutes for each step: they train in the slow tests only.
HEAVY = ("torchvision-vgg11", "torchvision-vit-b-16", "torchvision-resnet101", "resnet101-modified")
SMALL = [
    f"torchvision-{name}:stem=small"
    for name in ("alexnet", "vgg11", "mobilenet-v2", "efficientnet-b0", "swin-t", "swin-v2-t")
]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in HEAVY])
def test_every_network_trains_on_small_images(name):
    check_training(name, size=32, channels=3)


@pytest.mark.parametrize("name", NAMES)
def test_the_layer_that_gives_the_logits_computes_in_float32(name):
    # Nothing is computed: only types and shapes are known.
    body = build_network(name, size=64, classes=7).body
    dtypes = []

    def note_dtype(layer, inputs, output):
        if isinstance(output, torch.Tensor):
            dtypes.append(output.dtype)

    with FakeTensorMode(allow_non_fake_inputs=True), torch.autocast("cpu", torch.bfloat16):
        for layer in body.modules():
            layer.register_forward_hook(note_dtype)
        logits = body(torch.rand(2, 3, 64, 64))
    assert logits.dtype == torch.float32
    assert logits.shape == (2, 7)
    assert torch.bfloat16 in dtypes


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(LIGHT)])
def test_light_networks_train_on_grey_images_of_28_px(name):
    check_training(name, size=28, channels=1)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "channels"), [(28, 1), (64, 3), (96, 1), (128, 3), (224, 1)])
@pytest.mark.parametrize("name", [*NAMES, *SMALL])
def test_every_network_trains_at_every_size(name, size, channels):
    if size == 224 and name.startswith("resnet"):
        pytest.skip("made for small images: minutes and gigabytes at 224 px")
    check_training(name, size=size, channels=channels)


@pytest.mark.parametrize(
    ("spec", "size", "named"),
    [
        ("convnet-d5", 16, "32 px"),
        ("convnet-d1:width=0", 32, "width is 0"),
        ("alexnet", 7, "8 px"),
        ("vgg11", 16, "32 px"),
        ("resnet18", 8, "9 px"),
        ("resnet18-ap", 15, "16 px"),
        ("torchvision-alexnet", 62, "63 px or stem=small"),
        ("torchvision-alexnet:stem=small", 14, "15 px"),
        ("torchvision-vgg11:stem=small", 27, "32 px"),
        ("torchvision-swin-t:stem=small", 15, "16 px"),
        ("torchvision-vit-b-16", 40, "multiple of 16 px"),
        ("vit:patch=5", 32, "patch"),
        ("vit", 40, "patch"),
        ("vit:width=100", 32, "width"),
    ],
)
def test_networks_that_do_not_fit_the_images_are_refused_in_one_line(spec, size, named):
    with pytest.raises(UsageError, match=spec) as error:
        build_network(spec, size=size)
    assert named in str(error.value).partition(spec)[2]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ("alexnet", 8),
        ("resnet18", 9),
        ("resnet18:norm=batch", 1),
        ("resnet18-ap:norm=batch", 8),
        ("torchvision-swin-t", 32),
        ("torchvision-swin-t:stem=small", 16),
    ],
)
def test_images_of_the_smallest_accepted_size_give_logits(spec, size):
    network = build_network(spec, size=size).eval()
    assert network(torch.rand(1, 3, size, size)).shape == (1, 10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "side"), [(15, 1), (32, 3), (64, 3), (96, 3), (127, 4), (128, 3), (224, 6)]
)
def test_fitted_classifier_of_alexnet_has_the_size_of_its_last_map(size, side):
    body = build_network("torchvision-alexnet:stem=small", size=size).body
    assert body.features(torch.zeros(1, 3, size, size)).shape[-2:] == (side, side)
    assert body.classifier[1].in_features == 256 * side**2


def test_resnet18_ap_pools_after_the_first_relu_and_in_the_shortcut():
    block = build_network("resnet18-ap:norm=batch").body.eval().layer3[0]
    x = torch.rand(2, 128, 16, 16)
    conv = torch.nn.functional.conv2d
    pool = torch.nn.AvgPool2d(2)
    shortcut, inner = block.downsample, block.conv2[1]
    main = pool(block.bn1(conv(x, block.conv1.weight, padding=1)).relu())
    expected = block.bn2(conv(main, inner.weight, padding=1)) + shortcut[2](
        pool(conv(x, shortcut[0].weight))
    )
    torch.testing.assert_close(block(x), expected.relu())


class TestTimm:
    @pytest.mark.parametrize(
        ("name", "size", "channels"),
        [("resnet18", 32, 1), ("vit_tiny_patch16_224", 64, 3), ("mobilenetv3_small_050", 32, 3)],
    )
    def test_models_train(self, name, size, channels):
        pytest.importorskip("timm")
        check_training(f"timm:{name}", size=size, channels=channels)

    def test_parameters_are_those_of_torchvision(self):
        pytest.importorskip("timm")
        network = build_network("timm:resnet18", size=64, classes=1000)
        assert num_parameters(network) == 11_689_512

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("resnet-18", "timm:resnet18"),
            ("hf-hub:a/b", "timm.list_models()"),
        ],
    )
    def test_an_unknown_name_is_refused_with_the_nearest(self, name, hint):
        pytest.importorskip("timm")
        with pytest.raises(UsageError, match=f"timm:{name}") as error:
            build_network(f"timm:{name}")
        assert hint in str(error.value)

    def test_a_model_that_does_not_fit_is_refused_in_one_line(self):
        pytest.importorskip("timm")
        with pytest.raises(UsageError, match="timm:inception_v3") as error:
            build_network("timm:inception_v3")
        assert "\n" not in str(error.value)

    def test_without_timm_the_message_names_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "timm", None)
        with pytest.raises(UsageError, match=r"ddlabel\[timm\]"):
            build_network("timm:resnet18")


def test_weights_depend_on_the_seed_only_and_the_global_generator_stays():
    torch.default_generator.manual_seed(5)
    before = torch.get_rng_state()
    first = build_network("convnet-d1:width=4", seed=1).state_dict()
    again = build_network("convnet-d1:width=4", seed=1).state_dict()
    other = build_network("convnet-d1:width=4", seed=2).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["body.0.weight"], other["body.0.weight"])


def test_normalisation_equals_the_values_worked_by_hand():
    prepare = normalisation((0.5, 0.25), (0.5, 0.125))
    out = prepare(torch.tensor([[[[1.0]], [[0.5]]]]))
    assert out.flatten().tolist() == [1.0, 2.0]


def test_whitening_layer_makes_covariance_s_over_s_plus_epsilon():
    # Whitened data have covariance U S/(S + ε) Uᵀ.
    generator = np.random.default_rng(0)
    images = (
        (generator.normal(size=(500, 4)) @ generator.normal(size=(4, 4)))
        .reshape(500, 1, 2, 2)
        .astype(np.float32)
    )
    mean, matrix = whitening.fit(images)
    white = Prepare(torch.from_numpy(mean), torch.ones(1), torch.from_numpy(matrix))(
        torch.from_numpy(images)
    )
    values, vectors = np.linalg.eigh(np.cov(images.reshape(500, 4).T))
    expected = vectors @ np.diag(values / (values + 0.1)) @ vectors.T
    np.testing.assert_allclose(np.cov(white.flatten(1).numpy().T), expected, atol=1e-4)
