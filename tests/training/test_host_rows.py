"""Bundles that are larger than the device: read ahead from the host, with the same results."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from experts import train_small_expert
from networks import CPU
from samples import make_bundle, with_arrays
from students import experiment, student_results

from ddlabel.commands.labeling import label_images
from ddlabel.core.config import RelabelOptions
from ddlabel.core.errors import InvalidInputError
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import Checkpoint
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels import views
from ddlabel.training import device_data
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.host_rows import HostRows


def dense_bundle(images: int = 24) -> Bundle:
    """Images with soft labels, and labels of four views of each."""
    plain = make_bundle(images=images)
    generator = np.random.default_rng(0)
    return with_arrays(
        plain,
        dense_labels=generator.normal(size=(images, 4, 3)).astype(np.float32),
        dense_boxes=views.grid(images, 8, 8, 0, n=2, r=0.75).boxes,
        dense=LabelMeta(space="logits"),
    )


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    """A bundle that is mapped from its file."""
    formats.write(str(tmp_path / "few.safetensors"), dense_bundle())
    return formats.read(str(tmp_path / "few.safetensors"))


@pytest.fixture
def small_device(monkeypatch):
    """Pretend that the device has a quarter of the memory that the images of a bundle take."""

    def pretend(bundle: Bundle) -> None:
        share = device_data._SHARE_OF_MEMORY
        monkeypatch.setattr(device_data, "free_bytes", lambda _: bundle.images.nbytes / 4 / share)

    return pretend


class TestWhatFits:
    def test_a_bundle_that_fits_is_copied(self, bundle):
        data = DeviceBundle.fitting(bundle, CPU)
        assert isinstance(data.images, torch.Tensor)
        assert not data.reads_ahead

    @pytest.mark.parametrize(
        ("free", "on_host"),
        [
            # 24 · 64 bytes of images, 24 · 3 soft and 24 · 4 · 3 dense numbers of 4 bytes; half of
            # the free memory is theirs.
            (2 * (1536 + 288 + 1152), set()),
            (2 * (1536 + 288), {"dense"}),
            (2 * 1535, {"images"}),
            (0, {"images", "soft", "dense"}),
        ],
    )
    def test_images_come_before_labels(self, bundle, monkeypatch, free, on_host):
        monkeypatch.setattr(device_data, "free_bytes", lambda _: free)
        data = DeviceBundle.fitting(bundle, CPU)
        parts = {"images": data.images, "soft": data.soft.values, "dense": data.dense.values}
        assert {name for name, part in parts.items() if isinstance(part, HostRows)} == on_host


class TestRows:
    @pytest.mark.parametrize("ahead", [None, [5, 2], [1, 1]])
    @pytest.mark.parametrize("wanted", [[5, 2], [3, 3, 0, 3]])
    def test_rows_are_those_of_the_array_whatever_was_expected(self, ahead, wanted):
        array = np.random.default_rng(0).normal(size=(9, 2))
        rows = HostRows.of_array(array, CPU)
        if ahead is not None:
            rows.expect(torch.tensor(ahead))
        assert np.array_equal(rows[torch.tensor(wanted)].numpy(), array[wanted])
        assert np.array_equal(rows[2:5].numpy(), array[2:5])

    def test_labels_are_decoded_when_they_are_read(self, bundle):
        labels = bundle.labels("dense")
        rows = HostRows.of_labels(labels, CPU)
        assert rows.shape == (24, 4, 3)
        image, view = torch.tensor([3, 20]), torch.tensor([0, 3])
        assert np.array_equal(rows[image, view].numpy(), labels.decode()[[3, 20], [0, 3]])


@pytest.mark.parametrize(
    "options",
    [
        {"labels": "hard"},
        {"labels": "soft", "loss": "soft-ce", "batch_size": 7},
        {"labels": "dense", "loss": "soft-ce", "dense_batches": "sum"},
        {"labels": "dense", "loss": "soft-ce", "dense_batches": "mix", "batch_size": 7},
    ],
)
def test_students_of_a_bundle_four_times_the_memory_are_the_same(bundle, small_device, options):
    settings = options | {"device": "cpu", "epochs": 3, "seeds": 1, "augment": "flip"}
    expected = student_results(experiment(bundle, **settings))
    small_device(bundle)
    assert DeviceBundle.fitting(bundle, CPU).reads_ahead
    assert student_results(experiment(bundle, **settings)) == expected


def test_experts_of_more_images_than_memory_are_the_same(bundle, small_device, tmp_path):
    expected = train_small_expert(bundle, tmp_path / "one", batch_size=7)
    small_device(bundle)
    run = train_small_expert(bundle, tmp_path / "two", batch_size=7)
    assert [record["sha256"] for record in run.metrics()] == [
        record["sha256"] for record in expected.metrics()
    ]


class TestChanges:
    def test_a_bundle_that_is_written_to_while_it_is_read_is_named(self, bundle, tmp_path):
        path = tmp_path / "few.safetensors"
        rows = HostRows.of_array(bundle.images, CPU)
        rows.expect(torch.tensor([1]))
        assert rows[torch.tensor([1])].shape == (1, 1, 8, 8)
        later = path.stat().st_mtime_ns + 1
        os.utime(path, ns=(later, later))
        with pytest.raises(InvalidInputError, match=r"few\.safetensors: the file was changed"):
            rows[torch.tensor([2])]

    def test_a_change_is_found_before_labels_are_made_of_it(self, bundle, tmp_path, monkeypatch):
        run = train_small_expert(bundle, tmp_path / "expert")
        path = tmp_path / "few.safetensors"
        load = HostRows._load

        def write_meanwhile(rows, index):
            content = path.read_bytes()
            with Path(path).open("r+b") as file:
                file.write(content)
            os.utime(path, ns=(1, 1))
            return load(rows, index)

        monkeypatch.setattr(HostRows, "_load", write_meanwhile)
        options = RelabelOptions(device="cpu", precision="fp32", compile="off")
        with pytest.raises(InvalidInputError, match=r"few\.safetensors"):
            label_images(bundle, [Checkpoint(run, run.step_of("last"))], options)

    def test_a_file_that_takes_its_place_does_no_harm(self, bundle, tmp_path):
        path = tmp_path / "few.safetensors"
        rows = HostRows.of_array(bundle.images, CPU)
        (tmp_path / "other").write_bytes(b"other")
        (tmp_path / "other").replace(path)
        assert np.array_equal(rows[0:2].numpy(), bundle.images[0:2])
