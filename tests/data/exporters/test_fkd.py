"""FKD's label archives: what the public code reads, and which mixed views they can hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import make_bundle, with_arrays
from view_samples import MIX_BOX, grid_bundle, recorded_views

from ddlabel.core.config import ExportOptions
from ddlabel.core.errors import IncompatibleError
from ddlabel.data import exporters
from ddlabel.data.schema import LabelMeta


def archives(bundle, folder) -> dict[str, list]:
    """Export, and load every archive by its path."""
    exporters.write(bundle, str(folder / "fkd"), ExportOptions(format="fkd"))
    files = sorted((folder / "fkd").rglob("*.tar"))
    names = [str(file.relative_to(folder / "fkd")) for file in files]
    return dict(zip(names, (torch.load(file, weights_only=True) for file in files), strict=True))


@pytest.mark.parametrize("bundle", [grid_bundle(), recorded_views("flip")])
def test_every_view_is_an_epoch_with_the_numbers_of_its_images(bundle, tmp_path):
    found = archives(bundle, tmp_path)
    num_views = bundle.views.num_views
    assert list(found) == [f"epoch_{view}/batch_0.tar" for view in range(num_views)]
    boxes = np.broadcast_to(bundle.views.boxes, (len(bundle), num_views, 4))
    for view, content in enumerate(found.values()):
        coords, flip, index, share, region, logits, images = content
        assert (index, share, region) == (None, None, None)
        assert images.tolist() == list(range(len(bundle)))
        top, left, height, width = coords.numpy().T
        assert np.allclose(np.stack([top, left, top + height, left + width], 1), boxes[:, view])
        flips = 0 if bundle.views.flip is None else bundle.views.flip[:, view]
        assert (flip.numpy() == flips).all()
        assert np.array_equal(logits, bundle.dense.values[:, view].astype(np.float16))


def test_the_same_views_give_the_same_bytes(tmp_path):
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        archives(grid_bundle(), tmp_path / name)
        contents.append([file.read_bytes() for file in sorted((tmp_path / name).rglob("*.tar"))])
    assert contents[0] == contents[1]


def mixed(partners, weights):
    """Six images with two views, mixed by CutMix."""
    bundle = recorded_views("cutmix")
    mix = np.stack([partners, partners[::-1]], 1)
    shares = np.stack([weights, weights], 1).astype(np.float32)
    return with_arrays(bundle, dense_mix=mix, dense_mix_weight=shares)


def test_mixed_views_of_one_share_are_one_batch(tmp_path):
    partners, weights = np.array([1, 0, 2, 5, 3, 4]), np.array([0.75, 0.75, 0.75, 0.5, 0.5, 0.5])
    bundle = mixed(partners, weights)
    bundle = replace(bundle, views=replace(bundle.views, mix=np.stack([partners] * 2, 1)))
    found = archives(bundle, tmp_path)
    assert len(found) == 4
    for name, content in found.items():
        _, _, index, share, region, _, images = content
        assert share == (0.5 if name.endswith("0.tar") else 0.75)
        # The region of 8 px images, row and column of the corners.
        assert region == [round(8 * edge) for edge in MIX_BOX]
        assert images[index].tolist() == partners[images].tolist()


def test_views_with_shares_of_their_own_are_refused(tmp_path):
    with pytest.raises(IncompatibleError, match="fkd:mix=none"):
        archives(mixed(np.array([1, 0, 2, 5, 3, 4]), np.linspace(0.1, 0.9, 6)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_labels_that_the_archives_cannot_hold_are_refused(tmp_path):
    bundle = grid_bundle()
    with pytest.raises(IncompatibleError, match="ddlabel densify"):
        archives(make_bundle(), tmp_path)
    large = with_arrays(bundle, dense_labels=bundle.dense.values * np.float32(1e6))
    with pytest.raises(IncompatibleError, match="too large for float16"):
        archives(large, tmp_path)
    with pytest.raises(IncompatibleError, match="direction"):
        archives(with_arrays(bundle, dense=LabelMeta(space="direction")), tmp_path)
