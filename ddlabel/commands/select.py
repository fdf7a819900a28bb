"""`select`: a few images of each class. A selector is `selector(bundle, options, *, experts, options) → bundle`."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddlabel.core import rng
from ddlabel.core.config import SelectOptions
from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Registry
from ddlabel.data.bundle import Bundle, image_chunks
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.labels import Array
from ddlabel.data.scratch import scratch_array
from ddlabel.methods.labels import views
from ddlabel.training.device_data import to_device, to_unit
from ddlabel.training.labeler import Labeler
from ddlabel.training.runtime import Runtime, pick_device

# Which rows of features [n, D] to take.
Choose = Callable[[Tensor], list[int]]
Rank = Literal["easiest", "hardest", "stratified"]
selectors: Registry[Callable[..., Bundle]] = Registry("selector")


def select(
    bundle: Bundle, options: SelectOptions, picks: Sequence[tuple[ExpertRun, int]] = ()
) -> Bundle:
    """`ipc` images of every class, sorted by class, chosen by `options.method` with the checkpoints in `picks`.

    UsageError if a class has fewer images, or the method asks experts and there are none, or asks none.
    """
    selector: Callable[..., Bundle] = selectors.resolve(options.method)
    asks = "experts" in inspect.signature(selector).parameters
    if asks and not picks:
        raise UsageError(f"--method {options.method} needs an expert: name its run with --expert")
    if not asks and picks:
        raise UsageError(
            f"--method {options.method} asks no expert: leave out --expert and --epoch"
        )
    options.check_together(objects=("expert",) if picks else ())
    given = (
        {"experts": Labeler(picks, Runtime.of(options, training=False), num_images=len(bundle))}
        if asks
        else {}
    )
    return selector(bundle, options, **given)


@selectors.add
def random(bundle: Bundle, options: SelectOptions) -> Bundle:
    """Images at random: a class's draw depends on seed and class alone, a smaller IPC is a part of a larger one."""
    drawn = [draw.permutation(rows)[: options.ipc] for rows, draw in _classes(bundle, options)]
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
    """Images by the experts' cross-entropy with the hard label, in deciles of their class (Label-Worth, Fig. 9).

    Drawn at random from the first or the last decile, from the one that `decile` names (1 easiest … 10), or,
    stratified, from each in turn. Of a decile with fewer than `ipc` images all are taken, and those next to it.
    """
    if decile is not None and (rank != "easiest" or not 1 <= decile <= 10):
        raise UsageError(
            f"cross-entropy: decile is {decile} and rank {rank}: expected 1 (easiest) … 10, and no rank"
        )
    classes = _classes(bundle, options)
    found = [
        _scores(experts, _unit(bundle, rows, options), bundle.hard_labels[rows])
        for rows in image_chunks(bundle)
    ]
    scores = np.concatenate(found)
    chosen: list[int] = []
    for rows, draw in classes:
        ranked = rows[np.argsort(scores[rows], kind="stable")]
        ends = len(ranked) * np.arange(11) // 10
        if rank == "stratified":
            parts = np.split(ranked, ends[1:-1])
            dealt = zip_longest(
                *(draw.permutation(parts[number]) for number in draw.permutation(10))
            )
            chosen += [row for turn in dealt for row in turn if row is not None][: options.ipc]
        else:
            low, high = ends[(decile or (1 if rank == "easiest" else 10)) - 1 :][:2]
            width = max(options.ipc, high - low)
            start = min(max(0, (low + high - width) // 2), len(ranked) - width)
            chosen += list(draw.permutation(ranked[start : start + width])[: options.ipc])
    return bundle.take(np.array(chosen))


@selectors.add
def k_center(bundle: Bundle, options: SelectOptions, *, experts: Labeler) -> Bundle:
    """Images that cover their class in the experts' features: each the farthest from those before it.

    The first is nearest to the class's mean; no choice is worse than twice the best radius (Gonzalez 1985; Sener &
    Savarese 2018, k-center-greedy).
    """

    def cover(features: Tensor) -> list[int]:
        chosen = [int((features - features.mean(0)).square().sum(1).argmin())]
        distance = torch.full_like(features[:, 0], torch.inf)
        while len(chosen) < options.ipc:
            distance = distance.minimum((features - features[chosen[-1]]).square().sum(1))
            distance[chosen[-1]] = -1  # also where its doubles are all that is left
            chosen.append(int(distance.argmax()))
        return chosen

    return _by_features(bundle, options, experts, cover)


@selectors.add
def herding(bundle: Bundle, options: SelectOptions, *, experts: Labeler) -> Bundle:
    """Images whose mean follows their class's in the experts' features, scaled to length 1 (Welling 2009).

    With w₀ = μ, each image is the one with the largest ⟨w, φ⟩ of those left, and w grows by μ − φ: at one length that
    is the image that brings the mean of the chosen nearest to μ.
    """

    def herd(features: Tensor) -> list[int]:
        features = F.normalize(features)
        mean = want = features.mean(0)
        chosen: list[int] = []
        for _ in range(options.ipc):
            gain = features @ want
            gain[chosen] = -torch.inf
            chosen.append(int(gain.argmax()))
            want = want + mean - features[chosen[-1]]
        return chosen

    return _by_features(bundle, options, experts, herd)


@selectors.add
def rded(
    bundle: Bundle,
    options: SelectOptions,
    *,
    experts: Labeler,
    factor: int = 2,
    crops: int = 5,
    low: float = 0.5,
) -> Bundle:
    """Images stitched of factor × factor patches, realistic crops of different real images (RDED, Sun et al. 2024).

    Of `crops` squares of `low` … 1 of each image's area the one with the least cross-entropy counts, and of each class
    the `ipc`·factor² images with the least. An image's first patch is one of the `ipc` best, its second of the next.
    The public code scores a patch at 1/factor of the side, in the middle of black; here it is scored at the full side.
    """
    size = bundle.images.shape[2]
    if not (factor >= 1 and crops >= 1 and 0 < low <= 1):
        raise UsageError(
            f"rded: factor {factor}, crops {crops}, low {low}: expected at least 1, 1, and 0 < low ≤ 1"
        )
    if size % factor:
        raise UsageError(
            f"rded: {size} px cannot be cut into {factor} × {factor} patches: take another factor"
        )
    classes = _classes(bundle, options, patches=factor**2)
    scores, boxes = _best_crop(bundle, options, experts, crops, low)
    least = [
        rows[np.argsort(scores[rows], kind="stable")][: options.ipc * factor**2]
        for rows, _ in classes
    ]
    parts_of = np.concatenate([rows.reshape(-1, options.ipc).T for rows in least])
    images = scratch_array((len(parts_of), *bundle.images.shape[1:]), bundle.images.dtype)
    for image, rows in zip(images, parts_of, strict=True):
        patches = F.avg_pool2d(
            views.crop(_unit(bundle, rows, options).cpu(), torch.from_numpy(boxes[rows])), factor
        )
        whole = (
            patches.view(factor, factor, *patches.shape[1:])
            .permute(2, 0, 3, 1, 4)
            .reshape(image.shape)
        )
        image[...] = (whole * 255).round() if image.dtype == np.uint8 else whole
    hard = np.repeat(np.arange(len(bundle.classes)), options.ipc)
    return Bundle(
        classes=bundle.classes,
        pixels=bundle.pixels,
        images=images,
        hard_labels=hard,
        history=bundle.history,
    )


def _best_crop(
    bundle: Bundle, options: SelectOptions, experts: Labeler, crops: int, low: float
) -> tuple[Array, Array]:
    """The least cross-entropy [N] that a random square of each image has, and its box [N, 4]."""
    generator = torch.Generator().manual_seed(rng.stream(options.seed, "rded"))
    size, scores, boxes = (
        bundle.images.shape[2],
        np.full(len(bundle), np.inf),
        np.zeros((len(bundle), 4), np.float32),
    )
    for rows in image_chunks(bundle):
        images = _unit(bundle, rows, options)
        uniform = partial(torch.rand, len(images), generator=generator)
        for _ in range(crops):
            drawn = views.draw_boxes(uniform, size, size, low=low, high=1, ratio=1)
            found = _scores(
                experts, views.crop(images, drawn.to(images.device)), bundle.hard_labels[rows]
            )
            better = found < scores[rows]
            scores[rows][better], boxes[rows][better] = found[better], drawn.numpy()[better]
    return scores, boxes


def _classes(
    bundle: Bundle, options: SelectOptions, *, patches: int = 1
) -> list[tuple[Array, np.random.Generator]]:
    """The rows of every class and its generator; UsageError if too few for `ipc` images of that many patches."""
    found = []
    for number, name in enumerate(bundle.classes):
        rows = np.flatnonzero(bundle.hard_labels == number)
        if len(rows) < options.ipc * patches:
            most = f"has {len(rows)} images: ask for at most {len(rows) // patches}"
            raise UsageError(f"--ipc is {options.ipc} and class {name!r} {most}")
        found.append((rows, np.random.default_rng(rng.stream(options.seed, "select", number))))
    return found


def _unit(bundle: Bundle, rows: slice | Array, options: SelectOptions) -> Tensor:
    """Images of these rows in unit space, on the device."""
    return to_unit(to_device(bundle.images[rows], pick_device(options.device)))


def _scores(experts: Labeler, images: Tensor, hard: Array) -> Array:
    """Cross-entropy [B] with the hard labels, in float64: in float32 all images that an expert is sure of have 0."""
    return F.cross_entropy(
        experts(images).cpu().double(), torch.from_numpy(np.array(hard)), reduction="none"
    ).numpy()


def _by_features(
    bundle: Bundle, options: SelectOptions, experts: Labeler, choose: Choose
) -> Bundle:
    """The images that `choose` picks from the features [n, D] of a class, for each class."""
    chosen = []
    for rows, _ in _classes(bundle, options):
        parts = np.array_split(rows, -(-len(rows) // 500))
        chosen.append(
            rows[
                choose(
                    torch.cat([_features(experts, _unit(bundle, part, options)) for part in parts])
                )
            ]
        )
    return bundle.take(np.concatenate(chosen))


@torch.no_grad()
def _features(experts: Labeler, images: Tensor) -> Tensor:
    """What the last linear layer of every expert is given, side by side: [B, D]."""
    seen: list[Tensor] = []
    for (prepare, _), body in zip(experts.experts, experts.bodies, strict=True):
        last = [layer for layer in body.modules() if isinstance(layer, nn.Linear)][-1]
        with last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1))):
            with experts.runtime.matmul_precision():
                body(prepare(images))
    return torch.cat(seen, 1)
