"""The layout of Tiny ImageNet, in a folder and in a zip, and sizes before the crop."""

from __future__ import annotations

import numpy as np
import pytest
from foreign_sources import load, save_png, zip_folder
from PIL import Image

from ddlabel.core.errors import InvalidInputError, UsageError

BOXES = "0\t0\t62\t62"


@pytest.fixture
def tiny(tmp_path):
    """Two classes: two images of each in train, one of each in val, one without class in test."""
    root = tmp_path / "tiny-imagenet-200"
    for number, name in enumerate(("n02", "n01")):
        for index in range(2):
            value = 10 * number + index
            path = root / "train" / name / "images" / f"{name}_{index}.JPEG"
            save_png(path.with_suffix(".png"), np.full((2, 2), value))
        (root / "train" / name / f"{name}_boxes.txt").write_text("")
    save_png(root / "val" / "images" / "val_0.png", np.full((2, 2), 30))
    save_png(root / "val" / "images" / "val_1.png", np.full((2, 2), 31))
    lines = [f"val_0.png\tn01\t{BOXES}", f"val_1.png\tn02\t{BOXES}"]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    save_png(root / "test" / "images" / "test_0.png", np.full((2, 2), 40))
    return root


@pytest.mark.parametrize("packed", [False, True])
class TestTinyImagenet:
    def test_val_has_the_classes_of_its_table_in_the_order_of_train(self, tiny, packed):
        source = zip_folder(tiny) if packed else tiny
        train = load(source, split="train")
        val = load(source, split="val")
        assert train.classes == val.classes == ("n01", "n02")
        assert train.images[:, 0, 0, 0].tolist() == [10, 11, 0, 1]
        assert train.hard_labels.tolist() == [0, 0, 1, 1]
        assert val.images[:, 0, 0, 0].tolist() == [30, 31]
        assert val.hard_labels.tolist() == [0, 1]

    def test_test_images_without_classes_are_refused(self, tiny, packed):
        source = zip_folder(tiny) if packed else tiny
        with pytest.raises(InvalidInputError, match=r"one folder for each class|no part 'test'"):
            load(source, split="test")

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("val_0.png n01", "line 1: expected the name and the class"),
            ("val_0.png\tn01\nval_1.png\t../x", "line 2"),
            ("val_0.png\tn01", r"val_1\.png.*no class"),
        ],
    )
    def test_a_table_that_cannot_be_used_is_refused(self, tiny, packed, text, named):
        (tiny / "val" / "val_annotations.txt").write_text(text)
        with pytest.raises(InvalidInputError, match=named):
            load(zip_folder(tiny) if packed else tiny, split="val")


def test_the_folder_val_alone_is_read_too(tiny):
    assert load(tiny / "val").images[:, 0, 0, 0].tolist() == [30, 31]


class TestResize:
    def test_the_crop_is_the_centre_of_the_resized_image(self, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
        save_png(tmp_path / "x" / "cat" / "x.png", pixels)
        cropped = load(tmp_path / "x", size=8, resize=10)
        whole = Image.fromarray(pixels).resize((15, 10), Image.Resampling.BICUBIC)
        expected = np.asarray(whole)[1:9, 3:11]
        assert np.array_equal(cropped.images[0, 0], expected)

    def test_the_resized_image_must_hold_the_crop(self, tmp_path):
        save_png(tmp_path / "x" / "cat" / "x.png", np.zeros((4, 4)))
        with pytest.raises(UsageError, match="--resize is 3 and --size 4"):
            load(tmp_path / "x", size=4, resize=3)
