"""Batches of a folder whose images are read while they are trained on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from experts import SMALL, read_files
from networks import CPU
from PIL import Image
from samples import make_bundle, records

from ddlabel.commands.reporter import Reporter
from ddlabel.commands.train_expert import train_expert
from ddlabel.core import rng
from ddlabel.core.errors import InvalidInputError
from ddlabel.data import formats, image_folder, whitening
from ddlabel.data.image_folder import ImageFolder
from ddlabel.methods.augmentations import none
from ddlabel.training import distributed
from ddlabel.training.batches import BatchTransform
from ddlabel.training.image_stream import random_cut, split_crop, streamed_batches
from ddlabel.training.loop import Batch, shuffled_rows

BATCH_SIZE = 15
DAMAGED = "train/class3/14.png"
CROPS = [None, {"low": 0.3}]


@pytest.fixture
def folder(tmp_path) -> Path:
    """50 images of several sizes in 11 class folders whose names end in numbers; some are grey."""
    generator = np.random.default_rng(0)
    for number in range(50):
        path = tmp_path / "images" / "train" / f"class{number % 11}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = generator.integers(12, 30, 2)
        is_grey = number % 5 == 0
        shape = (height, width) if is_grey else (height, width, 3)
        Image.fromarray(generator.integers(0, 256, shape, np.uint8)).save(path)
    return tmp_path / "images"


class Unprepared(torch.nn.Module):
    """Leaves images in unit space, so that the pixels that were read can be seen."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


TRANSFORM = BatchTransform(prepare=Unprepared(), augment=none)


def batches(folder: Path, steps: range, *, workers: int = 0, crop=None) -> Batch:
    """Batches of 15 images of 8 px; four steps are a pass."""
    return streamed_batches(
        ImageFolder.open(folder, 8),
        TRANSFORM,
        crop=crop,
        batch_size=BATCH_SIZE,
        seed=3,
        steps=steps,
        workers=workers,
        device=CPU,
    )


def read_steps(folder: Path, steps: range, **options) -> list[torch.Tensor]:
    """The images of some steps."""
    batch = batches(folder, steps, **options)
    return [batch(step)[0] for step in steps]


class TestBatches:
    def test_images_and_labels_are_the_folders_in_the_order_of_the_seed(self, folder):
        stream = ImageFolder.open(folder, 8)
        batch = batches(folder, range(8))
        rows_of_step = shuffled_rows(
            50, BATCH_SIZE, lambda number: rng.stream(3, "order", number), CPU
        )
        for step in range(8):
            rows = rows_of_step(step).tolist()
            images, target = batch(step)
            expected = torch.from_numpy(stream.read(rows)).float() / 255
            torch.testing.assert_close(images, expected, rtol=0, atol=0)
            assert target.hard.tolist() == stream.hard_labels[rows].tolist()

    @pytest.mark.parametrize("crop", CROPS)
    def test_workers_and_the_first_step_change_nothing(self, folder, crop):
        in_process = read_steps(folder, range(10), crop=crop)
        for num_workers, steps in ((1, range(10)), (2, range(6, 10))):
            images = read_steps(folder, steps, workers=num_workers, crop=crop)
            for step, step_images in zip(steps, images, strict=True):
                assert torch.equal(step_images, in_process[step])

    @pytest.mark.parametrize("crop", CROPS)
    def test_every_pass_has_all_images_with_other_crops(self, folder, crop):
        steps = read_steps(folder, range(8), crop=crop)
        passes = [torch.cat(steps[:4]), torch.cat(steps[4:])]
        assert [len(images) for images in passes] == [50, 50]
        distinct = [{image.numpy().tobytes() for image in images} for images in passes]
        assert (distinct[0] == distinct[1]) == (crop is None)

    def test_each_rank_reads_its_own_rows(self, folder, monkeypatch):
        whole = read_steps(folder, range(4), crop={})
        images_of_ranks = []
        for rank in range(2):
            monkeypatch.setattr(distributed, "rank_and_world_size", lambda rank=rank: (rank, 2))
            images_of_ranks.append(read_steps(folder, range(4), crop={}))
        for images, first, second in zip(whole, *images_of_ranks, strict=True):
            assert not first[1::2].any()
            assert not second[::2].any()
            assert torch.equal(first + second, images)

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_a_damaged_image_is_named_when_its_batch_is_asked_for(
        self, folder, num_workers, monkeypatch
    ):
        # The damaged image is not in the sample, as in a folder of many images.
        monkeypatch.setattr(image_folder, "SAMPLE_SIZE", 1)
        path = folder / DAMAGED
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(InvalidInputError) as raised:
            read_steps(folder, range(4), workers=num_workers)
        assert f"{DAMAGED}:" in str(raised.value)
        assert "Traceback" not in str(raised.value)


class TestCrops:
    @pytest.mark.parametrize(
        ("spec", "crop", "others"),
        [
            ("none", None, "none"),
            ("flip+random-resized-crop", None, "flip+random-resized-crop"),
            ("random-resized-crop", {}, "none"),
            (
                "random-resized-crop:low=0.3,ratio=2+flip+crop",
                {"low": 0.3, "ratio": 2.0},
                "flip+crop",
            ),
        ],
    )
    def test_a_crop_that_the_augmentation_begins_with_is_split_off(self, spec, crop, others):
        assert split_crop(spec) == (crop, others)

    def test_crops_have_the_areas_and_ratios_that_are_asked_for(self):
        # The pixels are their own coordinates, so that the box can be read off the corners.
        rows, columns = np.mgrid[:200, :100].astype(np.uint8)
        image = Image.fromarray(np.stack([rows, columns, rows], 2))
        areas, ratios = [], []
        for seed in range(400):
            cut = np.asarray(random_cut({"low": 0.2, "high": 0.5}, seed, image, 8)).astype(float)
            # The centres of the outer pixels are 7/8 of the box apart.
            height, width = 8 / 7 * (cut[-1, -1, :2] - cut[0, 0, :2])
            areas.append(height * width / (200 * 100))
            ratios.append(width / height)
        assert 0.17 < min(areas) < 0.25
        assert 0.43 < max(areas) < 0.55
        assert 0.7 < min(ratios) < 0.85
        assert 1.2 < max(ratios) < 1.45


class StopAt(Reporter):
    """Interrupts the training when an epoch is reported."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def note(self, text: str) -> None:
        if text.startswith(f"epoch {self.epoch}:"):
            raise KeyboardInterrupt


class TestTraining:
    def test_a_resumed_run_is_an_uninterrupted_one(self, folder, tmp_path):
        options = {
            "size": 8,
            "net": "convnet-d1:width=4,norm=batch",
            "epochs": 4,
            "batch_size": BATCH_SIZE,
            "augment": "random-resized-crop+flip",
            "compile": "off",
            "precision": "fp32",
        }
        num_open_files = len(list(Path("/proc/self/fd").iterdir()))
        train_expert(folder, tmp_path / "whole", **options)
        with pytest.raises(KeyboardInterrupt):
            train_expert(folder, tmp_path / "killed", **options, reporter=StopAt(epoch=2))
        assert (tmp_path / "killed" / "resume.pt").exists()
        train_expert(folder, tmp_path / "killed", **options, workers=0)
        assert read_files(tmp_path / "whole") == read_files(tmp_path / "killed")
        assert records(tmp_path / "whole" / "metrics.jsonl")[-1]["loss"] < 3
        assert len(list(Path("/proc/self/fd").iterdir())) <= num_open_files + 1

    def test_whitening_is_fitted_to_all_images(self, folder, tmp_path):
        (run,) = train_expert(
            folder, tmp_path / "run", size=8, zca=True, workers=0, **SMALL | {"batch_size": 50}
        )
        mean, matrix = whitening.fit(ImageFolder.open(folder, 8).sample().images)
        # The images come in blocks of another size: sums differ in the last bits.
        assert np.allclose(run.whitening()["mean"], mean, atol=1e-6)
        assert np.allclose(run.whitening()["matrix"], matrix, atol=1e-4)

    def test_the_run_has_the_digest_and_the_number_of_all_images(
        self, folder, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(image_folder, "SAMPLE_SIZE", 5)
        (run,) = train_expert(folder, tmp_path / "run", size=8, workers=0, **SMALL)
        assert run.about.data == ImageFolder.open(folder, 8).digest
        assert run.about.steps_per_epoch == 5  # 50 images in batches of 10

    @pytest.mark.slow
    def test_an_interruption_is_reported_once(self, folder, tmp_path):
        words = ["train-expert", str(folder), "run", "--size", "8", "--epochs", "9999"]
        words += ["--net", "convnet-d1:width=4", "--precision", "fp32"]
        root = str(Path(formats.__file__).parents[3])
        job = subprocess.Popen(
            [sys.executable, "-m", "ddlabel", *words],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root},
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        while not (tmp_path / "run" / "resume.pt").exists():
            assert job.poll() is None
            time.sleep(0.01)
        os.killpg(job.pid, signal.SIGINT)  # as a terminal does
        _, stderr = job.communicate(timeout=60)
        assert job.returncode == 130
        assert stderr.count(b"error: ") == stderr.count(b"error: interrupted") == 1
        assert b"Traceback" not in stderr


class TestRefusals:
    def test_a_folder_needs_a_size(self, cli, folder):
        assert b"--size" in cli("train-expert", folder, "run", code=2).err

    @pytest.mark.parametrize("words", [["--size", 9], ["--workers", 1]])
    def test_options_of_folders_are_refused_for_a_bundle(self, cli, tmp_path, words):
        formats.write(str(tmp_path / "b.safetensors"), make_bundle())
        assert words[0].encode() in cli("train-expert", "b.safetensors", "run", *words, code=2).err

    def test_an_empty_folder_is_refused(self, cli, tmp_path):
        (tmp_path / "empty").mkdir()
        cli("train-expert", "empty", "run", "--size", 8, code=3)
