"""Labelling with experts: whole images, and views of them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddlabel.commands.checkpoints import source_of
from ddlabel.core.config import RelabelOptions
from ddlabel.core.errors import UsageError
from ddlabel.core.ranks import NUM_RANKS
from ddlabel.data.bundle import CHUNK, Bundle, Field, image_chunks
from ddlabel.data.expert_run import Checkpoints
from ddlabel.data.labels import Array, Labels, Views
from ddlabel.data.schema import LabelMeta
from ddlabel.data.scratch import scratch_array
from ddlabel.training import distributed
from ddlabel.training.batches import ViewIndex
from ddlabel.training.chunking import images_of_chunk
from ddlabel.training.device_data import DeviceBundle, DeviceViews, to_device, to_unit
from ddlabel.training.host_rows import HostRows
from ddlabel.training.labeler import Labeler
from ddlabel.training.loop import Progress
from ddlabel.training.runtime import Runtime

# A CPU labels so few images at once that reading 64 of 128 px ahead is enough.
_PARTS_TO_READ = 16


class Labelling(NamedTuple):
    """How a command labels a bundle, and the loss by which students learn such labels.

    Attributes:
        field: The labels that it makes: soft or dense.
        label: Returns the bundle with labels of checkpoints, by the options.
        loss: The loss.
    """

    field: Field
    label: Callable[[Bundle, Checkpoints, Any, Progress], Bundle]
    loss: str = "soft-ce"


def label_images(
    bundle: Bundle, checkpoints: Checkpoints, options: RelabelOptions, progress: Progress = iter
) -> Bundle:
    """Give every image a soft label [K]: the logits of experts (Label-Worth, section 3.1).

    Raises:
        UsageError: The weights are not one for each expert.
        ResourceError: The device is not there.
    """
    labeler = _labeler(checkpoints, options, num_images=len(bundle))
    device = labeler.runtime.device
    values = scratch_array((len(bundle), bundle.num_classes), np.float32)
    part_size = images_of_chunk(bundle.images.shape, device)
    chunk_size = _images_to_read(part_size, device)
    source = HostRows.of_array(bundle.images, device)
    chunks = _chunks(bundle, chunk_size, progress)
    for rows in distributed.chunks_for_rank(chunks, values):
        pixels = source[rows]
        _read_next(source, rows, chunk_size)
        values[rows] = _label_parts(labeler, pixels, to_unit, part_size)
    return bundle.with_labels("soft", Labels(values=values, meta=_meta(checkpoints, options)))


def label_views(
    bundle: Bundle,
    views: Views,
    checkpoints: Checkpoints,
    options: RelabelOptions,
    progress: Progress = iter,
) -> Bundle:
    """Give every view a dense label [K]: the logits of experts (LADD, Algorithm 1; FKD).

    A view is cut out by the same code, from the same arrays, as in the training of students.

    Raises:
        UsageError: The weights are not one for each expert.
        ResourceError: The device is not there.
    """
    num_views = views.num_views
    labeler = _labeler(checkpoints, options, num_images=len(bundle) * num_views)
    device = labeler.runtime.device
    values = scratch_array((len(bundle), num_views, bundle.num_classes), np.float32)
    labels = Labels(values=values, meta=_meta(checkpoints, options))
    dense = replace(bundle, dense=labels, views=views)
    numbers = np.arange(len(bundle))
    part_size = images_of_chunk(bundle.images.shape, device)
    chunk_size = _images_to_read(part_size, device)
    # The progress of one chunk is that of its views.
    is_one_chunk = len(bundle) <= chunk_size
    chunks = _chunks(bundle, chunk_size, iter if is_one_chunk else progress)
    source = HostRows.of_array(bundle.images, device)
    for rows in distributed.chunks_for_rank(chunks, values):
        pixels = source[rows]
        _read_next(source, rows, chunk_size)
        block = DeviceBundle(
            images=pixels,
            hard=to_device(bundle.hard_labels[rows], device),
            num_classes=bundle.num_classes,
            views=DeviceViews.of(views.take(numbers[rows], len(bundle)), device),
        )
        index = ViewIndex(block, whole="none")
        first_view = torch.arange(len(block), device=device) * num_views
        view_numbers = range(num_views)
        for view in progress(view_numbers) if is_one_chunk else view_numbers:
            items = first_view + view
            values[rows, view] = _label_parts(labeler, items, index.images, part_size)
    return dense


def _label_parts(
    labeler: Labeler, items: Tensor, make_images: Callable[[Tensor], Tensor], part_size: int
) -> Array:
    """Return the labels of the images that `make_images` makes of items, one of each.

    They are made for as many items at a time as pass through a network at once: on a CPU they are
    in its caches then.
    """
    labels = [labeler(make_images(part)) for part in torch.split(items, part_size)]
    return torch.cat(labels).cpu().numpy()


def _images_to_read(part_size: int, device: torch.device) -> int:
    """Return how many images are read at a time, to be labelled in parts of `part_size`.

    All parts are whole, so that labels do not depend on it. Three chunks are in memory at once:
    the one before, this one and the next.
    """
    if device.type == "cpu":
        return min(CHUNK, _PARTS_TO_READ * part_size)
    return max(CHUNK, part_size)


def _chunks(bundle: Bundle, size: int, progress: Progress) -> Iterator[slice]:
    """Yield the chunks of a bundle's images, and report how many are done."""
    chunks = list(image_chunks(bundle, size))
    for number in progress(range(len(chunks))):
        yield chunks[number]


def _read_next(source: HostRows, rows: slice, chunk_size: int) -> None:
    """Read the chunk that comes after `rows` on this rank, while these are labelled."""
    distance = chunk_size * NUM_RANKS
    if rows.start + distance < len(source):
        source.expect(slice(rows.start + distance, rows.stop + distance))


def _labeler(checkpoints: Checkpoints, options: RelabelOptions, *, num_images: int) -> Labeler:
    """Build the ensemble that is to label so many images."""
    if isinstance(options.temperature, str):
        raise UsageError(
            "--temperature auto is chosen on real images: name them with --real, or give a number"
        )
    return Labeler(
        checkpoints,
        Runtime.of(options),
        num_images=num_images,
        mean=options.ensemble,
        weights=_weights(options.weights, len(checkpoints)),
        temperature=options.temperature,
    )


def _meta(checkpoints: Checkpoints, options: RelabelOptions) -> LabelMeta:
    return LabelMeta(
        space="logits",
        temperature=float(options.temperature),
        source=source_of(checkpoints),
    )


def _weights(text: str | None, num_experts: int) -> list[float]:
    """Read the weights of the experts of an ensemble; none, for equal ones, without a text."""
    if text is None:
        return []
    if num_experts == 1:
        raise UsageError(
            "--weights is for an ensemble and there is one expert: leave it out, or name more"
        )
    try:
        weights = [float(weight) for weight in text.split(",")]
    except ValueError:
        weights = []
    are_positive = all(0 < weight < math.inf for weight in weights)
    if len(weights) != num_experts or not are_positive:
        raise UsageError(
            f"--weights is {text!r}: expected a number above 0 for each of {num_experts} experts"
        )
    return weights
