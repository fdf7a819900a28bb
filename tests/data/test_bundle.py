"""What a bundle may hold: structure and the meaning of every number."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from format_samples import assert_same, container, small
from samples import bundle_of

from ddlabel.core.errors import (
    InvalidInputError,
)
from ddlabel.data import formats
from ddlabel.data.provenance import Entry, Input
from ddlabel.data.schema import LabelMeta, Pixels

NAN, INF = float("nan"), float("inf")


UNIT = Pixels(space="unit", mean=(0.5,), std=(0.25,))


def soft(values, dtype=np.float32, **space):
    return {"soft_labels": np.array(values, dtype), "soft": LabelMeta(**{"space": "probs"} | space)}


def unit(value):
    images = np.full((2, 1, 2, 2), 0.5, np.float32)
    images[1, 0, 1, 1] = value
    return {"images": images, "pixels": UNIT}


def boxes(*values):
    return {"dense_boxes": np.array([values], np.float32)}


MEANINGLESS = {
    "hard label -1": {"hard_labels": np.array([0, -1])},
    "hard label K": {"hard_labels": np.array([2, 0])},
    "NaN in unit images": unit(NAN),
    "infinity in unit images": unit(-INF),
    "NaN in probs": soft([[NAN, 1], [0, 1]]),
    "NaN in logits": soft([[1, 0], [NAN, 1]], space="logits"),
    "infinity in logits": soft([[1, INF], [0, 1]], space="logits"),
    "negative probs": soft([[1.5, -0.5], [0, 1]]),
    "negative mass": soft([[1.5, -0.5], [0, 1]], space="mass"),
    "rows that sum to 0.9": soft([[0.4, 0.5], [0, 1]]),
    "rows that sum to 1.001 in float32": soft([[0.5, 0.501], [0, 1]]),
    "rows that sum to 1.05 in float16": soft([[0.5, 0.55], [0, 1]], np.float16),
    "logits as probs": soft([[3.2, -1], [0.5, 7]]),
    "a direction of length 0": soft([[1, 2], [0, 0]], space="direction"),
    "NaN in dense labels": {"dense_labels": np.array([[[1, NAN]], [[0, 1]]], np.float32)},
    "dense rows that sum to 2": {
        "dense_labels": np.ones((2, 1, 2), np.float32),
        "dense": LabelMeta(space="probs"),
    },
    "a box of no height": boxes(0.5, 0, 0.5, 1),
    "a box upside down": boxes(0.5, 0, 0.25, 1),
    "a box that leaves the image": boxes(0, 0, 1, 1.25),
    "a box that begins outside": boxes(-0.25, 0, 1, 1),
    "a box of NaN": boxes(0, NAN, 1, 1),
}


@pytest.mark.parametrize("change", MEANINGLESS)
def test_numbers_without_meaning_are_refused_by_check_values_and_never_written(
    tmp_path, suffix, change
):
    bundle = small(**MEANINGLESS[change])
    with pytest.raises(InvalidInputError):
        bundle.check_values()
    with pytest.raises(InvalidInputError):
        formats.write(str(tmp_path / f"x{suffix}"), bundle)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_labels_of_the_space_mass_keep_any_sum(tmp_path, suffix, dtype):
    values = [[1.5, 0.25], [0, 0]]
    path = str(tmp_path / f"x{suffix}")
    formats.write(path, small(**soft(values, dtype, space="mass")))
    assert formats.read(path).soft.probs().tolist() == values


def test_meaning_is_checked_when_a_foreign_writer_made_the_digests(parts):
    file, entries, data = parts
    bad = replace(small(), hard_labels=np.array([0, 2]))
    # The header of the bad bundle is consistent; only `write` would have refused it.
    entries["__metadata__"]["ddlabel"] = bad.header().to_json()
    begin, end = entries["hard_labels"]["data_offsets"]
    content = container(
        json.dumps(entries).encode(), data[:begin] + bad.hard_labels.tobytes() + data[end:]
    )
    file.write_bytes(content)
    with pytest.raises(InvalidInputError, match="hard_labels, row 1"):
        formats.read(str(file))


def test_the_first_wrong_row_is_named_across_blocks_of_rows():
    labels = np.full((10_000, 2), 0.5, np.float32)
    labels[[9000, 9999]] = 0.7
    count = len(labels)
    bundle = bundle_of(
        classes=("a", "b"),
        pixels=Pixels(space="uint8", mean=(0.5,), std=(0.5,)),
        images=np.zeros((count, 1, 1, 1), np.uint8),
        hard_labels=np.zeros(count, np.int64),
        soft_labels=labels,
        soft=LabelMeta(space="probs"),
    )
    with pytest.raises(InvalidInputError, match="soft_labels, row 9000"):
        bundle.check_values()


ALLOWED = {
    "float16 probs within their precision": soft([[0.3333, 0.6665], [0, 1]], np.float16),
    "unit images outside of 0 … 1": unit(-3.5),
    "negative zero": soft([[-0.0, 1], [0, 1]]),
    "logits of any size": soft([[-300, 4e30], [0, 0]], space="logits"),
    "boxes that touch every edge": boxes(0, 0, 1, 1),
}


@pytest.mark.parametrize("change", ALLOWED)
def test_numbers_at_the_edge_of_their_meaning_are_kept(tmp_path, suffix, change):
    bundle = small(**ALLOWED[change])
    formats.write(str(tmp_path / f"x{suffix}"), bundle)
    assert_same(formats.read(str(tmp_path / f"x{suffix}")), bundle)


IMAGES = small().images


MALFORMED = {
    "zero images": {
        name: getattr(small(), name)[:0] for name in ("images", "hard_labels", "source_index")
    },
    "images of no height": {"images": np.zeros((2, 1, 0, 2), np.uint8)},
    "float64 images": {"images": IMAGES / 255, "pixels": UNIT},
    "int16 images": {"images": IMAGES.astype(np.int16)},
    "object images": {"images": IMAGES.astype(object)},
    "float images called uint8": {"images": IMAGES.astype(np.float32)},
    "uint8 images called unit": {"pixels": UNIT},
    "images [N, H, W]": {"images": IMAGES[:, 0]},
    "images [N, H, W, C] with C values of mean": {"images": IMAGES.transpose(0, 2, 3, 1)},
    "int32 hard labels": {"hard_labels": np.array([0, 1], np.int32)},
    "hard labels [N, 1]": {"hard_labels": np.array([[0], [1]])},
    "a hard label too few": {"hard_labels": np.array([0])},
    "a source index too many": {"source_index": np.arange(3)},
    "float64 soft labels": soft([[0.5, 0.5], [0, 1]], np.float64),
    "soft labels of another K": soft([[1, 0, 0], [0, 1, 0]]),
    "a soft label too many": soft([[1, 0], [0, 1], [0, 1]]),
    "dense labels without boxes": {"dense_boxes": None},
    "boxes without dense labels": {"dense_labels": None, "dense": None},
    "a box too many": {"dense_boxes": np.tile(small().views.boxes, (2, 1))},
    "boxes of three numbers": {"dense_boxes": small().views.boxes[:, :3]},
    "no classes": {"classes": ()},
    "a class twice": {"classes": ("cat", "cat")},
    "two means for one channel": {"pixels": Pixels(space="uint8", mean=(0.5, 0.5), std=(0.5, 0.5))},
    "std 0": {"pixels": Pixels(space="uint8", mean=(0.5,), std=(0.0,))},
    "mean NaN": {"pixels": Pixels(space="uint8", mean=(NAN,), std=(0.5,))},
    "std NaN": {"pixels": Pixels(space="uint8", mean=(0.5,), std=(NAN,))},
    "std infinite": {"pixels": Pixels(space="uint8", mean=(0.5,), std=(INF,))},
    "temperature 0": {"soft": LabelMeta(space="probs", temperature=0.0)},
    "temperature NaN": {"soft": LabelMeta(space="probs", temperature=NAN)},
    "temperature infinite": {"soft": LabelMeta(space="probs", temperature=INF)},
    "unknown label space": {"soft": LabelMeta(space="odds")},
    "unknown pixel space": {
        "images": IMAGES.astype(np.float32),
        "pixels": replace(UNIT, space="lab"),
    },
    "a class name that is not text": {"classes": ("cat", "\udcff")},
    "a class that is a number": {"classes": ("cat", 1)},
    "a label source that is not text": {"soft": LabelMeta(space="probs", source="\udcff")},
    "a file name in the history that is not text": {
        "history": (
            Entry(
                command="import",
                version="1",
                inputs=(Input(role="source", name="\udcff", sha256=""),),
            ),
        )
    },
    "an option in the history that is not finite": {
        "history": (Entry(command="import", version="1", options={"r": NAN}),)
    },
}


@pytest.mark.parametrize("change", MALFORMED)
def test_a_bundle_that_does_not_hold_together_is_refused_before_it_is_written(tmp_path, change):
    """What could be written could not be read again."""
    with pytest.raises(InvalidInputError):
        formats.write(str(tmp_path / "x.safetensors"), small(**MALFORMED[change]))
    assert list(tmp_path.iterdir()) == []
