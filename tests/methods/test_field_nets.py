"""The field's own networks: counted by hand, and calculated once more with the same weights.

The calculations take the parameters in module order, as the replay buffers of MTT store them. They
follow the public code of DC, MTT and GLaD, and share no layer with `ddlabel.methods.nets`.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from networks import build_network, num_parameters

# Weights and biases of GLaD's ViT: a block is qkv without bias, projection, and two linear layers.
VIT_BLOCK = 512 * 1536 + (512 * 512 + 512) + 2 * (512 * 512 + 512)
VIT_NORMS = 2 * 2 * 512
VIT_HEAD = 512 * 10 + 10


def vit_embedding(size, patch):
    tokens = 1 + (size // patch) ** 2
    return tokens * 512 + 512 + (3 * patch**2 * 512 + 512)


# Convolutions of VGG11: 3×3 kernels, biases, and two parameters of the norm for each channel.
VGG_WIDTHS = (3, 64, 128, 256, 256, 512, 512, 512, 512)
VGG_CONVOLUTIONS = sum(
    9 * before * after + 3 * after for before, after in itertools.pairwise(VGG_WIDTHS)
)


@pytest.mark.parametrize(
    ("spec", "size", "parameters"),
    [
        # Of the public code with 10 classes (METHODS, section 4).
        ("alexnet", 32, 1_872_202),
        ("alexnet", 128, 2_333_002),
        ("vgg11", 32, 9_231_114),
        ("vgg11", 128, 9_476_874),
        ("vgg11:norm=batch", 32, 9_231_114),
        ("resnet18", 32, 11_173_962),
        ("resnet18", 128, 11_173_962),
        ("resnet18:norm=batch", 32, 11_173_962),
        # Counted by hand.
        ("alexnet", 64, 1_872_202 + 192 * (8 * 8 - 4 * 4) * 10),
        ("vgg11", 64, VGG_CONVOLUTIONS + 512 * 49 * 10 + 10),
        ("vgg11:norm=none", 32, 9_231_114 - 2 * sum(VGG_WIDTHS[1:])),
        ("vit", 32, vit_embedding(32, 4) + 6 * (VIT_BLOCK + VIT_NORMS) + 2 * 512 + VIT_HEAD),
        ("vit", 64, vit_embedding(64, 16) + 10 * VIT_BLOCK + VIT_HEAD),
        ("vit", 128, vit_embedding(128, 16) + 10 * VIT_BLOCK + VIT_HEAD),
        ("vit:norm=layer", 128, 16_176_650 + 10 * VIT_NORMS + 2 * 512),
    ],
)
def test_number_of_parameters_is_that_of_the_public_code(spec, size, parameters):
    assert num_parameters(build_network(spec, size=size)) == parameters


def test_the_numbers_in_the_docstring_of_vit_are_those_counted_by_hand():
    assert vit_embedding(32, 4) + 6 * (VIT_BLOCK + VIT_NORMS) + 1024 + VIT_HEAD == 9_523_722
    assert vit_embedding(64, 16) + 10 * VIT_BLOCK + VIT_HEAD == 16_152_074
    assert vit_embedding(128, 16) + 10 * VIT_BLOCK + VIT_HEAD == 16_176_650


def instance_norm(maps, weight, bias):
    """Standardise every channel of every image."""
    mean = maps.mean((2, 3), keepdim=True)
    variance = maps.var((2, 3), correction=0, keepdim=True)
    return (maps - mean) / (variance + 1e-5).sqrt() * weight[:, None, None] + bias[:, None, None]


def convnet_logits(images, parameters, depth):
    maps = images
    for block in range(depth):
        padding = 3 if images.shape[2] == 28 and block == 0 else 1
        maps = F.conv2d(maps, next(parameters), next(parameters), padding=padding)
        maps = instance_norm(maps, next(parameters), next(parameters))
        maps = F.avg_pool2d(maps.clamp_min(0), 2)
    return maps.flatten(1) @ next(parameters).T + next(parameters)


def alexnet_logits(images, parameters):
    maps = images
    for kernel, pool in ((5, True), (5, True), (3, False), (3, False), (3, True)):
        padding = kernel // 2
        if images.shape[2] == 28 and maps is images:
            padding = 4
        maps = F.conv2d(maps, next(parameters), next(parameters), padding=padding).clamp_min(0)
        if pool:
            maps = F.max_pool2d(maps, 2)
    return maps.flatten(1) @ next(parameters).T + next(parameters)


def vgg11_logits(images, parameters):
    maps = images
    for pool in (True, True, False, True, False, True, False, True):
        padding = 3 if images.shape[2] == 28 and maps is images else 1
        maps = F.conv2d(maps, next(parameters), next(parameters), padding=padding)
        maps = instance_norm(maps, next(parameters), next(parameters)).clamp_min(0)
        if pool:
            maps = F.max_pool2d(maps, 2)
    if images.shape[2] > 32:
        maps = F.adaptive_max_pool2d(maps, 7)
    return maps.flatten(1) @ next(parameters).T + next(parameters)


def resnet18_logits(images, parameters):
    maps = F.conv2d(images, next(parameters), padding=1)
    maps = instance_norm(maps, next(parameters), next(parameters)).clamp_min(0)
    for block in range(8):
        is_wider = block in (2, 4, 6)
        stride = 2 if is_wider else 1
        main = F.conv2d(maps, next(parameters), padding=1, stride=stride)
        main = instance_norm(main, next(parameters), next(parameters)).clamp_min(0)
        main = F.conv2d(main, next(parameters), padding=1)
        main = instance_norm(main, next(parameters), next(parameters))
        if is_wider:
            maps = F.conv2d(maps, next(parameters), stride=2)
            maps = instance_norm(maps, next(parameters), next(parameters))
        maps = (main + maps).clamp_min(0)
    return maps.mean((2, 3)) @ next(parameters).T + next(parameters)


def vit_logits(images, parameters):
    size = images.shape[2]
    has_norms = size == 32
    depth, patch = (6, 4) if has_norms else (10, 16)
    positions, class_token = next(parameters), next(parameters)
    patches = []
    for top in range(0, size, patch):
        for left in range(0, size, patch):
            part = images[:, :, top : top + patch, left : left + patch]
            patches.append(part.permute(0, 2, 3, 1).flatten(1))
    embedded = torch.stack(patches, 1) @ next(parameters).T + next(parameters)
    tokens = torch.cat([class_token.expand(len(images), 1, 512), embedded], 1) + positions

    def normed(tokens):
        if not has_norms:
            return tokens
        return F.layer_norm(tokens, (512,), next(parameters), next(parameters))

    for _ in range(depth):
        query, key, value = (normed(tokens) @ next(parameters).T).chunk(3, dim=2)
        heads = []
        for head in range(8):
            part = slice(64 * head, 64 * head + 64)
            weights = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(64)
            heads.append(weights.softmax(2) @ value[..., part])
        tokens = torch.cat(heads, 2) @ next(parameters).T + next(parameters) + tokens
        hidden = normed(tokens) @ next(parameters).T + next(parameters)
        gelu = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
        tokens = gelu @ next(parameters).T + next(parameters) + tokens
    return normed(tokens[:, 0]) @ next(parameters).T + next(parameters)


def logits_of(name, images, parameters):
    if name.startswith("convnet"):
        return convnet_logits(images, parameters, int(name[-1]))
    functions = {
        "alexnet": alexnet_logits,
        "vgg11": vgg11_logits,
        "resnet18": resnet18_logits,
        "vit": vit_logits,
    }
    return functions[name](images, parameters)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("convnet-d3", 28),
        ("convnet-d3", 32),
        ("alexnet", 28),
        ("alexnet", 64),
        ("vgg11", 28),
        ("vgg11", 64),
        ("resnet18", 32),
        ("vit", 32),
        ("vit", 64),
        pytest.param("convnet-d5", 128, marks=pytest.mark.slow),
        pytest.param("alexnet", 32, marks=pytest.mark.slow),
        pytest.param("alexnet", 128, marks=pytest.mark.slow),
        pytest.param("vgg11", 32, marks=pytest.mark.slow),
        pytest.param("vgg11", 128, marks=pytest.mark.slow),
        pytest.param("resnet18", 64, marks=pytest.mark.slow),
        pytest.param("resnet18", 128, marks=pytest.mark.slow),
        pytest.param("vit", 128, marks=pytest.mark.slow),
    ],
)
def test_logits_are_those_of_an_independent_calculation(name, size):
    body = build_network(name, size=size).body.double().eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in body.parameters():  # norms begin as the identity, which would hide a mistake
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data += 0.01 * noise
    images = torch.randn(2, 3, size, size, generator=generator, dtype=torch.float64)
    parameters = iter(body.parameters())
    with torch.no_grad():
        expected = logits_of(name, images, parameters)
        torch.testing.assert_close(body(images), expected, rtol=1e-9, atol=1e-9)
    assert next(parameters, None) is None


def test_first_weights_of_resnet18_are_pytorchs_as_in_the_field():
    # Uniform in ±1/√fan-in; torchvision's are normal with deviation √(2/fan-out).
    body = build_network("resnet18").body
    bound = 1 / math.sqrt(9 * 64)
    weights = body.layer1[0].conv1.weight
    assert weights.abs().max() <= bound
    assert weights.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
