"""The vision transformer of GLaD. torchvision's and timm's are other networks."""

from collections import OrderedDict
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddlabel.methods.nets.registry import nets

# The largest images, in pixels, for which GLaD has a network of its own (ViTCIFAR).
_SMALL = 32


@nets.add
def vit(
    *,
    channels: int,
    size: int,
    num_classes: int,
    patch: int | None = None,
    width: int = 512,
    depth: int | None = None,
    heads: int = 8,
    mlp: int = 512,
    dropout: float = 0.1,
    norm: Literal["auto", "layer", "none"] = "auto",
) -> nn.Module:
    """ViT of GLaD: 16×16 patches, depth 10, no layer norm; small images differ (LADD's 5-CAE).

    Up to 32 px it has 4×4 patches, depth 6 and layer norms, which are GLaD's values for CIFAR.
    With 10 classes it has 9,523,722 parameters at 32 px, 16,152,074 at 64 px and 16,176,650 at
    128 px.

    Raises:
        ValueError: The patches do not tile the images, or the width is not a multiple of the heads.
    """
    is_small = size <= _SMALL
    if patch is None:
        patch = 4 if is_small else 16
    if depth is None:
        depth = 6 if is_small else 10
    if norm == "auto":
        norm = "layer" if is_small else "none"
    if patch < 1 or size % patch:
        raise ValueError(
            f"patches of {patch} px do not tile them; set patch to a divisor of {size}"
        )
    if heads < 1 or width % heads:
        raise ValueError(f"a width of {width} is not a multiple of {heads} heads")
    return nn.Sequential(
        OrderedDict(
            embedding=_Embedding(channels, size, patch, width, dropout),
            transformer=_transformer(depth, width, heads, mlp, dropout, norm),
            head=nn.Sequential(
                _FirstToken(), *_layer_norm(width, norm), nn.Linear(width, num_classes)
            ),
        )
    )


def _transformer(
    depth: int, width: int, heads: int, mlp: int, dropout: float, norm: str
) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(depth):
        attention = _SelfAttention(width, heads, dropout)
        perceptron = _perceptron(width, mlp, dropout)
        layers.append(_Residual(width, attention, norm))
        layers.append(_Residual(width, perceptron, norm))
    return nn.Sequential(*layers)


class _Embedding(nn.Module):
    """Images [B, C, H, W] as tokens [B, 1 + patches, width]: a class token, then the patches."""

    def __init__(self, channels: int, size: int, patch: int, width: int, dropout: float) -> None:
        super().__init__()
        self.patch = patch
        num_patches = (size // patch) ** 2
        self.positions = nn.Parameter(torch.randn(1, 1 + num_patches, width))
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.linear = nn.Linear(channels * patch**2, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor) -> Tensor:
        batch, channels, height, width = images.shape
        rows = height // self.patch
        columns = width // self.patch
        grid = images.reshape(batch, channels, rows, self.patch, columns, self.patch)
        # Within a patch the channel is the fastest index, as in GLaD.
        patches = grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)
        class_tokens = self.class_token.expand(batch, -1, -1)
        tokens = torch.cat([class_tokens, self.linear(patches)], dim=1)
        embedded: Tensor = self.dropout(tokens + self.positions)
        return embedded


class _Residual(nn.Module):
    """x + layer(norm(x)) of tokens [B, T, width]."""

    def __init__(self, width: int, layer: nn.Module, norm: str) -> None:
        super().__init__()
        self.norm = nn.Sequential(*_layer_norm(width, norm))
        self.layer = layer

    def forward(self, tokens: Tensor) -> Tensor:
        changed: Tensor = self.layer(self.norm(tokens))
        return changed + tokens


class _SelfAttention(nn.Module):
    """Attention of tokens [B, T, width] to each other, with dropout of the result alone."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, num_tokens, width = tokens.shape
        split = self.qkv(tokens).view(batch, num_tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        joined = mixed.transpose(1, 2).reshape(batch, num_tokens, width)
        result: Tensor = self.dropout(self.out(joined))
        return result


class _FirstToken(nn.Module):
    """The class token [B, width] of tokens [B, T, width]."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]


def _perceptron(width: int, hidden: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, width),
        nn.Dropout(dropout),
    )


def _layer_norm(width: int, norm: str) -> list[nn.Module]:
    return [nn.LayerNorm(width)] if norm == "layer" else []
