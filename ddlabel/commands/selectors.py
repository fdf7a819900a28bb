"""Selectors: which images of each class to take.

A selector is `selector(bundle, options, *, experts, options of the spec) → bundle`; it has no
parameter `experts` if it needs none.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.commands.patches import PatchDraw, best_crops, best_rows, check_patches, stitched
from ddlabel.commands.selection import classes_of, features_of, losses_of, unit_images
from ddlabel.core.config import SelectOptions
from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Registry, parse_spec
from ddlabel.data.bundle import Bundle, image_chunks
from ddlabel.data.labels import Array
from ddlabel.training.labeler import Labeler

# Chooses rows of the features [n, D] of a class.
ChooseRows = Callable[[Tensor], list[int]]
Rank = Literal["easiest", "hardest", "stratified"]
selectors: Registry[Callable[..., Bundle]] = Registry("selector")

_NUM_DECILES = 10
# From this side on in pixels, RDED's scripts stitch four patches.
_LARGE = 128
_FEATURES_AT_ONCE = 500


@selectors.add
def random(bundle: Bundle, options: SelectOptions) -> Bundle:
    """Images at random.

    The draw of a class depends on the seed and the class alone, and a smaller IPC is a part of a
    larger one.
    """
    drawn = []
    for rows, generator in classes_of(bundle, options):
        drawn.append(generator.permutation(rows)[: options.ipc])
    return bundle.take(np.concatenate(drawn))


@selectors.add
def cross_entropy(
    bundle: Bundle,
    options: SelectOptions,
    *,
    experts: Labeler,
    rank: Rank = "easiest",
    decile: int | None = None,
) -> Bundle:
    """Images by the experts' cross-entropy with the hard label (Label-Worth, Fig. 9).

    The images of a class are ranked and cut into deciles. `rank` easiest and hardest draw at random
    from the first and the last decile, stratified from each in turn; `decile` names one decile (1
    easiest … 10). If a decile has fewer than `ipc` images, all are taken, and those next to it.

    Raises:
        UsageError: The decile is not 1 … 10 or is given with a rank, or a class has too few images.
    """
    is_valid = decile is None or (rank == "easiest" and 1 <= decile <= _NUM_DECILES)
    if not is_valid:
        raise UsageError(
            f"cross-entropy: decile is {decile} and rank {rank}: expected a decile from 1 "
            "(easiest) to 10, or a rank, not both"
        )
    if decile is None:
        decile = _NUM_DECILES if rank == "hardest" else 1
    classes = classes_of(bundle, options)
    losses = []
    for chunk in image_chunks(bundle):
        images = unit_images(bundle, chunk, options)
        losses.append(losses_of(experts, images, bundle.hard_labels[chunk]))
    loss_of_row = np.concatenate(losses)
    chosen = []
    for rows, generator in classes:
        ranked = rows[np.argsort(loss_of_row[rows], kind="stable")]
        if rank == "stratified":
            chosen.append(_draw_stratified(ranked, options.ipc, generator))
        else:
            chosen.append(_draw_from_decile(ranked, decile, options.ipc, generator))
    return bundle.take(np.concatenate(chosen))


def _decile_ends(num_rows: int) -> Array:
    """Return where the deciles of so many ranked rows begin, and where the last one ends."""
    return num_rows * np.arange(_NUM_DECILES + 1) // _NUM_DECILES


def _draw_stratified(ranked: Array, ipc: int, generator: np.random.Generator) -> Array:
    """Draw rows from the deciles in turn, which take their turns in a random order."""
    inner_ends = _decile_ends(len(ranked))[1:-1]
    deciles = np.split(ranked, inner_ends)
    shuffled = [generator.permutation(deciles[i]) for i in generator.permutation(_NUM_DECILES)]
    drawn = []
    # A decile that is used up gives None.
    for turn in zip_longest(*shuffled):
        drawn += [row for row in turn if row is not None]
    return np.array(drawn[:ipc])


def _draw_from_decile(
    ranked: Array, decile: int, ipc: int, generator: np.random.Generator
) -> Array:
    """Draw rows from a decile, 1 … 10, which is made wider until it has `ipc` rows."""
    ends = _decile_ends(len(ranked))
    low, high = ends[decile - 1], ends[decile]
    width = max(ipc, high - low)
    centred = (low + high - width) // 2
    start = min(max(0, centred), len(ranked) - width)
    return generator.permutation(ranked[start : start + width])[:ipc]


@selectors.add
def k_center(bundle: Bundle, options: SelectOptions, *, experts: Labeler) -> Bundle:
    """Images that cover their class in the experts' features (k-center-greedy).

    The first is the nearest to the mean of the class, each other one the farthest from those before
    it. The radius is at most twice the best one (Gonzalez 1985; Sener & Savarese 2018).

    Raises:
        UsageError: A class has too few images.
    """

    def cover(features: Tensor) -> list[int]:
        distance_to_mean = (features - features.mean(0)).square().sum(1)
        chosen = [int(distance_to_mean.argmin())]
        distance = torch.full_like(distance_to_mean, torch.inf)
        while len(chosen) < options.ipc:
            newest = chosen[-1]
            distance = distance.minimum((features - features[newest]).square().sum(1))
            # Below 0, so that it is not taken again where only its doubles remain.
            distance[newest] = -1
            chosen.append(int(distance.argmax()))
        return chosen

    return _take_by_features(bundle, options, experts, cover)


@selectors.add
def herding(bundle: Bundle, options: SelectOptions, *, experts: Labeler) -> Bundle:
    """Images whose mean follows that of their class in the experts' features (Welling 2009).

    The features φ are scaled to length 1. With w₀ = μ, each image is the one with the largest
    ⟨w, φ⟩ of those not yet chosen, and w grows by μ − φ: at one length, this image brings the mean
    of the chosen nearest to μ.

    Raises:
        UsageError: A class has too few images.
    """

    def herd(features: Tensor) -> list[int]:
        features = F.normalize(features)
        mean = features.mean(0)
        weight = mean
        chosen: list[int] = []
        for _ in range(options.ipc):
            gain = features @ weight
            gain[chosen] = -torch.inf
            best = int(gain.argmax())
            chosen.append(best)
            weight = weight + mean - features[best]
        return chosen

    return _take_by_features(bundle, options, experts, herd)


@selectors.add
def rded(
    bundle: Bundle,
    options: SelectOptions,
    *,
    experts: Labeler,
    factor: int | None = None,
    images: int = 300,
    crops: int = 5,
    low: float = 0.08,
    high: float = 1.0,
    ratio: float = 1.0,
    pad: bool = True,
) -> Bundle:
    """Images stitched of factor × factor patches of real images (RDED, Sun et al. 2024).

    A patch comes from one of `images` random images of its class. It is the box with the least
    cross-entropy of `crops` random ones, of `low` … `high` of the area and with sides up to `ratio`
    apart. Of each class the `ipc`·factor² patches with the least cross-entropy are used: the first
    patch of an image is one of the `ipc` best, its second one of the next `ipc`, and so on.

    The factor is 1 below 128 px and 2 from there on, unless it is given. With `pad` experts see a
    patch at 1/factor of the side, in the middle of the mean colour; without, at the full side. The
    defaults are those of the public code's scripts.

    Raises:
        UsageError: An option is out of its range, the images cannot be cut into such patches, or a
            class has too few images.
    """
    size = bundle.images.shape[2]
    if factor is None:
        factor = _factor_of_scripts(size)
    draw = PatchDraw(
        images=images,
        crops=crops,
        low=low,
        high=high,
        ratio=ratio,
        shrink=factor if pad else 1,
    )
    check_patches(draw, factor, size, options.ipc)
    num_patches = factor**2
    rows_of_class = []
    for rows, generator in classes_of(bundle, options, patches_per_image=num_patches):
        rows_of_class.append(np.sort(generator.permutation(rows)[:images]))
    losses, boxes = best_crops(bundle, options, experts, np.concatenate(rows_of_class), draw)
    rows_of_images = [best_rows(rows, losses, num_patches, options.ipc) for rows in rows_of_class]
    pixels = stitched(bundle, np.concatenate(rows_of_images), boxes, factor, options)
    return Bundle(
        classes=bundle.classes,
        pixels=bundle.pixels,
        images=pixels,
        hard_labels=np.repeat(np.arange(bundle.num_classes), options.ipc),
        history=bundle.history,
    )


def _factor_of_scripts(size: int) -> int:
    """Return the factor of RDED's scripts for images of this side in pixels."""
    return 1 if size < _LARGE else 2


def factor_of(method: str, size: int) -> int | None:
    """Return how many patches wide and high the images are that a method stitches, or None.

    Args:
        method: The spec of the selector.
        size: The side of the images in pixels.
    """
    if parse_spec(method)[0] != "rded":
        return None
    selector = cast("partial[Bundle]", selectors.resolve(method))
    factor: int | None = selector.keywords.get("factor")
    return _factor_of_scripts(size) if factor is None else factor


def _take_by_features(
    bundle: Bundle, options: SelectOptions, experts: Labeler, choose: ChooseRows
) -> Bundle:
    """Take the images of every class that `choose` picks from its features [n, D]."""
    chosen = []
    for rows, _ in classes_of(bundle, options):
        num_parts = math.ceil(len(rows) / _FEATURES_AT_ONCE)
        features = []
        for part in np.array_split(rows, num_parts):
            features.append(features_of(experts, unit_images(bundle, part, options)))
        chosen.append(rows[choose(torch.cat(features))])
    return bundle.take(np.concatenate(chosen))
