"""FKD archives: what a real DataLoader labelled is what the views of the bundle show."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from fkd_sources import save_fkd
from foreign_sources import Hostile
from samples import make_bundle

from ddlabel.core.errors import IncompatibleError, InvalidInputError, UnsafeInputError
from ddlabel.data.importers.fkd import is_fkd, read_fkd
from ddlabel.data.importers.torch_files import read_torch
from ddlabel.data.labels import Labels
from ddlabel.data.schema import LabelMeta
from ddlabel.training.batches import ViewIndex
from ddlabel.training.device_data import DeviceBundle


def labelled(bundle, found):
    labels = Labels(values=found.logits, meta=LabelMeta(space="logits"))
    return replace(bundle, soft=None, dense=labels, views=found.views)


def views_of(bundle):
    """The views [N, V, C, H, W] that students of this bundle see."""
    index = ViewIndex(DeviceBundle.of(bundle, torch.device("cpu")), whole="none")
    num_views = bundle.views.num_views
    images = index.images(torch.arange(len(bundle) * num_views))
    return images.reshape(len(bundle), num_views, *images.shape[1:]).numpy()


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
def test_students_see_what_was_labelled(tmp_path, mix, ids):
    """Three epochs of 12 images in batches of 5, 5 and 2, drawn by torch's RandomSampler."""
    bundle = make_bundle(size=16, channels=3)
    views, logits = save_fkd(tmp_path / "fkd", bundle, epochs=3, mix=mix, ids=ids)
    assert is_fkd(tmp_path / "fkd")
    found = read_fkd(tmp_path / "fkd", bundle)
    assert found.has_ids == ids
    assert found.logits.dtype == np.float16
    assert np.array_equal(found.logits, logits)
    result = labelled(bundle, found)
    result.check_values()
    np.testing.assert_allclose(views_of(result), views, atol=1e-5)


def test_the_share_of_cutmix_is_that_of_its_region(tmp_path):
    bundle = make_bundle(size=16)
    save_fkd(tmp_path / "fkd", bundle)
    views = read_fkd(tmp_path / "fkd", bundle).views
    low, high = views.mix_box[..., :2], views.mix_box[..., 2:]
    np.testing.assert_allclose(views.mix_weight, 1 - (high - low).prod(-1), atol=1e-6)


def change(folder, edit, epoch=0, batch=0):
    """Edit the list of one file."""
    path = folder / f"epoch_{epoch}" / f"batch_{batch}.tar"
    content = read_torch(path)
    edit(content)
    torch.save(content, path)


def put(place, value):
    return lambda content: content.__setitem__(place, value)


DAMAGE = {
    "crops outside": (put(0, torch.full((5, 4), 0.8)), InvalidInputError, "coordinates"),
    "crops without pixels": (put(0, torch.zeros(5, 4)), InvalidInputError, "coordinates"),
    "flips of another length": (put(1, torch.zeros(4)), InvalidInputError, "several lengths"),
    "a flip of 2": (put(1, torch.full((5,), 2)), InvalidInputError, "flips"),
    "a partner outside": (put(2, torch.full((5,), 5)), InvalidInputError, "partners"),
    "λ of 2": (put(3, 2.0), InvalidInputError, "λ"),
    "λ of text": (put(3, "half"), InvalidInputError, "not a batch of FKD"),
    "a region outside": (put(4, [0, 0, 224, 224]), IncompatibleError, "size at which"),
    "a region of three": (put(4, [0, 0, 4]), InvalidInputError, "3 numbers"),
    "other classes": (put(5, torch.zeros(5, 7)), IncompatibleError, "7 classes"),
    "no logits": (lambda content: content.pop(), InvalidInputError, "expected a list"),
    "nan": (put(5, torch.full((5, 3), torch.nan)), InvalidInputError, "finite"),
    "another kind of mixing": (put(4, None), InvalidInputError, "in another way"),
    "shuffled patches": (
        lambda content: content.extend([None, torch.tensor([[[1, 0], [0, 1]]] * 5)]),
        InvalidInputError,
        "patches",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_by_name(tmp_path, damage):
    edit, error, message = DAMAGE[damage]
    bundle = make_bundle(size=16)
    save_fkd(tmp_path / "fkd", bundle)
    change(tmp_path / "fkd", edit, epoch=1)
    with pytest.raises(error, match=message) as raised:
        read_fkd(tmp_path / "fkd", bundle)
    assert "epoch_1" in str(raised.value)


def test_the_empty_orders_of_patches_that_edc_saves_are_no_matter(tmp_path):
    bundle = make_bundle(size=16)
    save_fkd(tmp_path / "fkd", bundle, batch_size=12, epochs=1, ids=True)
    change(tmp_path / "fkd", lambda content: content.append(torch.zeros(12, 2, 2).int()))
    assert read_fkd(tmp_path / "fkd", bundle).logits.shape == (12, 1, 3)


@pytest.mark.parametrize("images", [11, 13])
@pytest.mark.parametrize("ids", [False, True])
def test_labels_of_more_or_fewer_images_are_refused(tmp_path, images, ids):
    save_fkd(tmp_path / "fkd", make_bundle(size=16), ids=ids)
    with pytest.raises(IncompatibleError, match="image"):
        read_fkd(tmp_path / "fkd", make_bundle(images=images, size=16))


def test_an_image_twice_is_refused(tmp_path):
    bundle = make_bundle(size=16)
    save_fkd(tmp_path / "fkd", bundle, ids=True)
    change(tmp_path / "fkd", put(6, torch.tensor([0, 0, 1, 2, 3])))
    with pytest.raises(InvalidInputError, match="twice"):
        read_fkd(tmp_path / "fkd", bundle)


def test_a_missing_file_is_refused(tmp_path):
    bundle = make_bundle(size=16)
    save_fkd(tmp_path / "fkd", bundle)
    (tmp_path / "fkd" / "epoch_1" / "batch_1.tar").unlink()
    with pytest.raises(InvalidInputError, match=r"epoch_1.*batch_0\.tar to batch_M\.tar"):
        read_fkd(tmp_path / "fkd", bundle)


def test_a_file_that_asks_for_code_is_unsafe(tmp_path):
    bundle = make_bundle(size=16)
    save_fkd(tmp_path / "fkd", bundle)
    path = tmp_path / "fkd" / "epoch_1" / "batch_0.tar"
    torch.save([Hostile(tmp_path / "marker")], path)
    with pytest.raises(UnsafeInputError, match="asks for code"):
        read_fkd(tmp_path / "fkd", bundle)
    assert not (tmp_path / "marker").exists()


def test_more_labels_than_the_limit_are_unsafe(tmp_path, monkeypatch):
    bundle = make_bundle(size=16)
    save_fkd(tmp_path / "fkd", bundle)
    monkeypatch.setattr("ddlabel.data.importers.budget.MAX_TOTAL_BYTES", 100)
    with pytest.raises(UnsafeInputError, match="at most 100"):
        read_fkd(tmp_path / "fkd", bundle)


@pytest.mark.parametrize(
    ("name", "error"),
    [("epoch_999999999999", UnsafeInputError), ("epoch_00", InvalidInputError)],
)
def test_numbers_of_epochs_that_no_archive_has_are_refused_at_once(tmp_path, name, error):
    """The order of the images would be drawn for each epoch up to the last."""
    bundle = make_bundle(size=16)
    save_fkd(tmp_path / "fkd", bundle)
    (tmp_path / "fkd" / "epoch_1").rename(tmp_path / "fkd" / name)
    with pytest.raises(error, match="fkd"):
        read_fkd(tmp_path / "fkd", bundle)


def test_an_epoch_that_is_missing_has_its_order_drawn_too(tmp_path):
    bundle = make_bundle(size=16)
    save_fkd(tmp_path / "fkd", bundle, epochs=3)
    whole = read_fkd(tmp_path / "fkd", bundle)
    shutil.rmtree(tmp_path / "fkd" / "epoch_1")
    part = read_fkd(tmp_path / "fkd", bundle)
    np.testing.assert_array_equal(part.logits, whole.logits[:, [0, 2]])
