"""Bundles of old releases: the files in fixtures/ are never edited, and are read for ever."""

from __future__ import annotations

import pytest
from samples import FIXTURES

from ddlabel.data import formats


@pytest.mark.parametrize("suffix", [".safetensors", ".h5"])
def test_bundle_of_format_1_is_read_as_it_was_written(suffix):
    bundle = formats.read(str(FIXTURES / f"golden-1{suffix}"))
    assert bundle.classes == ("cat", "dog ☃")
    assert bundle.images[2, 0, 3].tolist() == [44, 45, 46, 47]
    assert bundle.source_index.tolist() == [7, 3, 5]
    assert bundle.soft.meta.space == "probs"
    assert bundle.soft.values.tolist() == [[1, 0], [0.25, 0.75], [0.5, 0.5]]
    assert (bundle.dense.meta.space, bundle.dense.meta.temperature) == ("logits", 2.0)
    assert bundle.dense.values[2].tolist() == [[8, 9], [10, 11]]
    assert bundle.history[0].inputs[0].name == "pets"
