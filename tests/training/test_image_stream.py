"""Folders of images that are read while they are trained on, against bundles in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import CPU
from PIL import Image
from samples import TINY, make_bundle, records

from ddlabel.commands.train_expert import plan, train_expert
from ddlabel.core.config import ImportOptions, TrainExpertOptions
from ddlabel.data import formats, importers
from ddlabel.training import distributed as ranks
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.image_stream import ImageFolder, _cut
from ddlabel.training.loop import shuffled_rows

BATCH_SIZE = 15
DAMAGED = "train/class3/14.png"


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


def read_steps(folder: Path, steps: range, **options) -> list[torch.Tensor]:
    """The images of some steps, four of which are a pass."""
    stream, _ = ImageFolder.open(folder, 8)
    settings = TrainExpertOptions(batch_size=BATCH_SIZE, **options)
    data, _ = stream.read(DeviceBundle.of(stream, CPU), settings, 3, steps)
    rows_of_step = shuffled_rows(len(stream), BATCH_SIZE, lambda number: number, CPU)
    return [data.unit(rows_of_step(step)) for step in steps]


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestImages:
    def test_a_folder_is_what_import_makes_of_it(self, folder):
        stream, _ = ImageFolder.open(folder, 8)
        bundle = importers.load([folder], ImportOptions(size=8, rgb=True))
        assert stream.classes == bundle.classes == tuple(f"class{i}" for i in range(11))
        assert stream.pixels == bundle.pixels  # all 50 images are in the sample
        assert stream.hard.tolist() == bundle.hard_labels.tolist()
        images = stream[[(row, None) for row in range(50)]]
        assert torch.equal(images, torch.from_numpy(bundle.images))

    @pytest.mark.parametrize("augment", ["none", "random-resized-crop:low=0.3+flip"])
    def test_workers_and_the_first_step_change_nothing(self, folder, augment):
        in_process = read_steps(folder, range(10), workers=0, augment=augment)
        for num_workers, steps in ((1, range(10)), (2, range(6, 10))):
            images = read_steps(folder, steps, workers=num_workers, augment=augment)
            for step, step_images in zip(steps, images, strict=True):
                assert torch.equal(step_images, in_process[step])

    @pytest.mark.parametrize("augment", ["none", "random-resized-crop:low=0.3+flip"])
    def test_every_pass_has_all_images_with_other_crops(self, folder, augment):
        steps = read_steps(folder, range(8), workers=0, augment=augment)
        passes = [torch.cat(steps[:4]), torch.cat(steps[4:])]
        assert [len(images) for images in passes] == [50, 50]
        distinct = [{image.numpy().tobytes() for image in images} for images in passes]
        assert (distinct[0] == distinct[1]) == (augment == "none")

    def test_each_rank_reads_its_own_rows(self, folder, monkeypatch):
        options = {"workers": 0, "augment": "random-resized-crop"}
        whole = read_steps(folder, range(4), **options)
        images_of_ranks = []
        for rank in range(2):
            monkeypatch.setattr(ranks, "rank_and_world_size", lambda rank=rank: (rank, 2))
            images_of_ranks.append(read_steps(folder, range(4), **options))
        for images, first, second in zip(whole, *images_of_ranks, strict=True):
            assert not first[1::2].any()
            assert not second[::2].any()
            assert torch.equal(first + second, images)

    def test_crops_have_the_areas_and_ratios_that_are_asked_for(self):
        # The pixels are their own coordinates, so that the box can be read off the corners.
        rows, columns = np.mgrid[:200, :100].astype(np.uint8)
        image = Image.fromarray(np.stack([rows, columns, rows], 2))
        areas, ratios = [], []
        for seed in range(400):
            cut = np.asarray(_cut({"low": "0.2", "high": "0.5"}, seed, image, 8)).astype(float)
            # The centres of the outer pixels are 7/8 of the box apart.
            height, width = 8 / 7 * (cut[-1, -1, :2] - cut[0, 0, :2])
            areas.append(height * width / (200 * 100))
            ratios.append(width / height)
        assert 0.17 < min(areas) < 0.25
        assert 0.43 < max(areas) < 0.55
        assert 0.7 < min(ratios) < 0.85
        assert 1.2 < max(ratios) < 1.45


class TestDigest:
    def test_it_does_not_depend_on_the_size_of_the_images(self, folder):
        assert ImageFolder.open(folder, 8)[1] == ImageFolder.open(folder, 6)[1]

    def test_it_depends_on_the_names_and_the_sizes_of_the_files(self, folder):
        digests = [ImageFolder.open(folder, 8)[1]]
        path = folder / DAMAGED
        path.write_bytes(path.read_bytes() + b"x")
        digests.append(ImageFolder.open(folder, 8)[1])
        path.rename(path.with_name("114.png"))
        digests.append(ImageFolder.open(folder, 8)[1])
        assert len(set(digests)) == 3
        assert all(len(digest) == 64 for digest in digests)  # of sha256


class TestTraining:
    def test_a_resumed_run_is_an_uninterrupted_one(self, folder, tmp_path):
        stream, digest = ImageFolder.open(folder, 8)
        options = TrainExpertOptions(
            net="convnet-d1:width=4,norm=batch",
            epochs=4,
            batch_size=BATCH_SIZE,
            augment="random-resized-crop+flip",
            compile="off",
            precision="fp32",
        )
        num_open_files = len(list(Path("/proc/self/fd").iterdir()))

        def train(name: str, options: TrainExpertOptions, stop_at: int | None = None) -> None:
            def report(record):
                if record["step"] == stop_at:
                    raise KeyboardInterrupt

            ((path, info),) = plan(stream, tmp_path / name, options, digest)
            train_expert(stream, None, path, info, options, report)

        train("whole", options)
        with pytest.raises(KeyboardInterrupt):
            train("killed", options, stop_at=8)
        assert (tmp_path / "killed" / "resume.pt").exists()
        train("killed", replace(options, workers=0))
        assert read_files(tmp_path / "whole") == read_files(tmp_path / "killed")
        assert records(tmp_path / "whole" / "metrics.jsonl")[-1]["loss"] < 3
        assert len(list(Path("/proc/self/fd").iterdir())) <= num_open_files + 1

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_a_damaged_image_is_named(self, cli, folder, num_workers, monkeypatch):
        words = [*TINY, "--size", 8, "--workers", num_workers, "--batch-size", 10]
        cli("train-expert", folder, "sound", *words)
        path = folder / DAMAGED
        path.write_bytes(path.read_bytes()[:100])
        # The damaged image is not in the sample, as in a folder of many images.
        monkeypatch.setattr("ddlabel.training.image_stream.SAMPLE", 5)
        stderr = cli("train-expert", folder, "run", *words, code=3).err.decode()
        assert stderr.splitlines()[-1].startswith(f"error: {DAMAGED}:")
        assert "Traceback" not in stderr

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
