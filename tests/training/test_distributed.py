"""Several ranks against one process, and folders that are streamed against bundles in memory."""

from __future__ import annotations

import hashlib
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
import torch.nn.functional as F
from PIL import Image
from samples import TINY, make_bundle, records

from ddlabel.cli import app, command
from ddlabel.commands import train_expert as steps
from ddlabel.core.config import ImportOptions, TrainExpertOptions
from ddlabel.data import formats, importers
from ddlabel.methods.labels.target import Target
from ddlabel.training import distributed as ranks
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.image_stream import ImageFolder, _cut
from ddlabel.training.loop import shuffled_rows

CPU = torch.device("cpu")
# Starts the command with its own first arguments on rank 0, and with others on rank 1.
DIFFERENT = """
import os, runpy, sys
words, other = sys.argv[1].split(), sys.argv[2].split()
sys.argv = ["ddlabel", *words, *(other if os.environ["RANK"] == "1" else [])]
runpy.run_module("ddlabel", run_name="__main__")
"""


@pytest.fixture
def torchrun(tmp_path):
    """The command by two ranks, in a folder of its own; with `other`, rank 1 is given these words too."""

    def run(words: str, *, other: str = "", code: int = 0):
        (tmp_path / "different.py").write_text(DIFFERENT)
        done = subprocess.run(
            [*start(), "different.py", words, other], **settings(tmp_path), check=False
        )
        assert done.returncode == (code != 0), done.stderr.decode()
        return done

    return run


def start() -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]


def settings(folder: Path) -> dict:
    root = str(Path(app.__file__).parents[2])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": ""}
    return {"cwd": folder, "env": env, "capture_output": True, "timeout": 100}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in records(folder / "metrics.jsonl")]


class Alone:
    """Stands in for `torch.distributed` as the rank of a group sees it."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world

    def is_initialized(self) -> bool:
        return True

    def get_rank(self) -> int:
        return self.rank

    def get_world_size(self) -> int:
        return self.world


class TestShares:
    @pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 8, 100])
    @pytest.mark.parametrize("world", [1, 2, 3])
    def test_the_ranks_mean_gradient_is_that_of_the_whole_batch(self, monkeypatch, count, world):
        generator = torch.Generator().manual_seed(count)
        images, hard = torch.randn(count, 4, generator=generator), torch.arange(count) % 3
        weights = torch.randn(4, 3, generator=generator)
        gradients = []
        for rank in range(world):
            monkeypatch.setattr(ranks, "dist", Alone(rank, world))
            w = weights.clone().requires_grad_()
            batch, loss = ranks.shared(
                lambda _: (images, Target.of_classes(hard, 3)),
                lambda logits, target, _: F.cross_entropy(logits, target.hard),
            )
            own, target = batch(0)
            loss(own @ w, target, 0).backward()
            assert len(own) >= min(2, count)
            gradients.append(w.grad)
        w = weights.clone().requires_grad_()
        F.cross_entropy(images @ w, hard).backward()
        torch.testing.assert_close(torch.stack(gradients).mean(0), w.grad)

    @pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
    def test_every_chunk_has_its_turn_at_one_rank(self, monkeypatch, count):
        chunks = [slice(i, i + 1) for i in range(count)]
        values, moved = np.arange(float(count)), []
        for rank in range(3):
            stand_in = Alone(rank, 3)
            stand_in.send = lambda tensor, to, rank=rank: moved.append((rank, to, tensor.item()))
            stand_in.recv = lambda tensor, other: moved.append(("from", other, tensor.item()))
            monkeypatch.setattr(ranks, "dist", stand_in)
            assert [rows.start for rows in ranks.chunks_for_rank(chunks, values)] == list(
                range(count)
            )[rank::3]
        assert [m for m in moved if m[0] == "from"] == [
            ("from", i % 3, float(i)) for i in range(count) if i % 3
        ]
        assert sorted(m[2] for m in moved if m[0] != "from") == [
            float(i) for i in range(count) if i % 3
        ]

    def test_what_ranks_cannot_do_is_refused(self, cli, monkeypatch):
        monkeypatch.setattr(command, "RANKS", 2)
        assert (
            b"refine runs in one process"
            in cli("refine", "a.safetensors", "b.safetensors", code=2).err
        )
        assert b"name a file" in cli("relabel", "-", "b.safetensors", "--expert", "e", code=2).err
        assert b"name a file" in cli("train-expert", "-", "b", code=2).err
        words = [
            "relabel",
            "a.safetensors",
            "b.safetensors",
            "--expert",
            "e",
            "--real",
            "r.safetensors",
        ]
        assert b"without torchrun" in cli(*words, code=2).err


def test_two_ranks_learn_what_one_process_does(torchrun, cli, digits):
    """On 120 images in batches of 7: the last has one."""
    words = (
        "--net convnet-d1:width=4 --epochs 2 --save-every 0.25 --batch-size 7 "
        "--optimizer sgd:lr=0.1 --precision fp32"
    )
    done = torchrun(f"train-expert real.safetensors two {words} --test test.safetensors")
    cli("train-expert", "real.safetensors", "one", *words.split(), "--test", "test.safetensors")
    assert done.stdout == b"two\n"
    assert done.stderr.count(b"epoch 1:") == 1
    assert len(losses(digits / "two")) == 8
    np.testing.assert_allclose(losses(digits / "two"), losses(digits / "one"), rtol=1e-5)
    assert contents(digits / "two").keys() == contents(digits / "one").keys()
    last = [r["test_accuracy"] for r in records(digits / "two" / "metrics.jsonl")]
    assert last == pytest.approx(
        [r["test_accuracy"] for r in records(digits / "one" / "metrics.jsonl")], abs=0.02
    )


@pytest.mark.slow
@pytest.mark.parametrize("words", ["relabel", "densify --views fkd:count=3 --refine"])
def test_two_ranks_give_the_bytes_of_one_process(torchrun, cli, digits, words):
    many = make_bundle(images=2100, classes=10)  # five chunks: the last round has one
    formats.write(
        str(digits / "many.safetensors"),
        replace(many, classes=formats.read(str(digits / "real.safetensors")).classes),
    )
    name, *others = words.split()
    rest = ["many.safetensors", "OUT", "--expert", "expert", "--epoch", "last", *others]
    cli(name, *(word.replace("OUT", "one.safetensors") for word in rest))
    done = torchrun(" ".join([name, *rest]).replace("OUT", "two.safetensors"))
    assert done.stdout == b"two.safetensors\n"
    assert (digits / "one.safetensors").read_bytes() == (digits / "two.safetensors").read_bytes()


@pytest.mark.slow
def test_ranks_with_other_inputs_leave_with_one_line(torchrun, digits):
    began = time.monotonic()
    done = torchrun(
        f"train-expert real.safetensors two {' '.join(TINY)}",
        other="--seed 7 --batch-size 9",
        code=5,
    )
    assert time.monotonic() - began < 60
    assert done.stderr.count(b"error: ") == 1
    assert b"error: the ranks differ in batch_size, seed: " in done.stderr
    assert done.stderr.count(b"exitcode  : 5") == 2
    assert not (digits / "two").exists()


@pytest.mark.slow
def test_what_is_wrong_at_one_rank_is_said_by_that_one(torchrun, digits):
    done = torchrun(
        f"train-expert real.safetensors two {' '.join(TINY)}", other="--net nothing", code=2
    )
    assert b"error: rank 1: unknown net" in done.stderr
    assert b"exitcode  : 2" in done.stderr


@pytest.mark.slow
def test_a_killed_rank_ends_the_job_and_it_goes_on_from_there(torchrun, cli, digits):
    words = "--net convnet-d1:width=4 --epochs 40 --save-every 0.5 --batch-size 7 --precision fp32"
    cli("train-expert", "real.safetensors", "one", *words.split())
    (digits / "die.py").write_text(
        "import os, runpy, sys\n"
        "open(f'pid-{os.environ[\"RANK\"]}', 'w').write(str(os.getpid()))\n"
        "sys.argv[0] = 'ddlabel'\nrunpy.run_module('ddlabel', run_name='__main__')\n"
    )
    how = settings(digits)
    del how["capture_output"], how["timeout"]
    line = [*start(), "die.py", "train-expert", "real.safetensors", "two", *words.split()]
    job = subprocess.Popen(line, **how, stderr=subprocess.PIPE)
    while not (digits / "two" / "step-00000009.safetensors").exists():
        assert job.poll() is None
        time.sleep(0.01)
    os.kill(int((digits / "pid-1").read_text()), signal.SIGKILL)
    said = job.communicate(timeout=60)[1]
    assert job.returncode == 1
    assert b"error: another rank" in said or b"error: terminated" in said
    assert b"ddlabel/train" not in said  # no traceback of ours
    assert len(losses(digits / "two")) < 80
    done = torchrun(f"train-expert real.safetensors two {words}")
    assert b"going on where an earlier run stopped" in done.stderr
    np.testing.assert_allclose(losses(digits / "two"), losses(digits / "one"), rtol=1e-3)


@pytest.fixture
def folder(tmp_path):
    """50 images of several sizes in class folders with numbers, some grey."""
    generator = np.random.default_rng(0)
    for number in range(50):
        path = tmp_path / "images" / "train" / f"class{number % 11}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = generator.integers(12, 30, 2)
        pixels = generator.integers(
            0, 256, (height, width) if number % 5 == 0 else (height, width, 3), np.uint8
        )
        Image.fromarray(pixels).save(path)
    return tmp_path / "images"


def read(folder: Path, steps: range, **options) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images and classes of some steps."""
    stream, _ = ImageFolder.open(folder, 8)
    settled = TrainExpertOptions(batch_size=15, **options)
    data, _ = stream.read(DeviceBundle.of(stream, CPU), settled, 3, steps)
    rows_of = shuffled_rows(len(stream), 15, lambda number: number, CPU)
    return [(data.unit(rows_of(step)), data.hard_target(rows_of(step)).hard) for step in steps]


class TestStreams:
    def test_a_folder_is_what_import_makes_of_it(self, folder):
        stream, _ = ImageFolder.open(folder, 8)
        bundle = importers.load([folder], ImportOptions(size=8, rgb=True))
        assert stream.classes == bundle.classes == tuple(f"class{i}" for i in range(11))
        assert stream.pixels == bundle.pixels  # the sample has all 50
        assert stream.hard.tolist() == bundle.hard_labels.tolist()
        images = stream[[(row, None) for row in range(50)]]
        assert torch.equal(images, torch.from_numpy(bundle.images))

    @pytest.mark.parametrize("augment", ["none", "random-resized-crop:low=0.3+flip"])
    def test_pictures_depend_on_seed_epoch_and_image_alone(self, folder, augment):
        here = read(folder, range(10), workers=0, augment=augment)
        for workers, some in ((1, range(10)), (2, range(6, 10))):
            for step, (images, _) in zip(
                some, read(folder, some, workers=workers, augment=augment), strict=True
            ):
                assert torch.equal(images, here[step][0])
        epochs = [torch.cat([images for images, _ in here[i : i + 4]]) for i in (0, 4)]
        assert [len(epoch) for epoch in epochs] == [50, 50]
        pictures = [{image.numpy().tobytes() for image in epoch} for epoch in epochs]
        assert (pictures[0] == pictures[1]) == (augment == "none")

    def test_each_rank_reads_its_own_rows(self, folder, monkeypatch):
        whole = read(folder, range(4), workers=0, augment="random-resized-crop")
        parts = []
        for rank in range(2):
            monkeypatch.setattr(ranks, "dist", Alone(rank, 2))
            parts.append(read(folder, range(4), workers=0, augment="random-resized-crop"))
        for (images, _), first, second in zip(whole, *parts, strict=True):
            assert not first[0][1::2].any()
            assert not second[0][::2].any()
            assert torch.equal(first[0] + second[0], images)

    def test_crops_have_the_shapes_that_are_asked_for(self):
        """Of a picture of its own coordinates: the box can be read off."""
        rows, columns = np.mgrid[:200, :100].astype(np.uint8)
        shares, ratios = [], []
        image = Image.fromarray(np.stack([rows, columns, rows], 2))
        for seed in range(400):
            cut = np.asarray(_cut({"low": "0.2", "high": "0.5"}, seed, image, 8)).astype(float)
            height, width = (8 / 7 * (cut[-1, -1, i] - cut[0, 0, i]) for i in (0, 1))
            shares.append(height * width / 20000)
            ratios.append(width / height)
        assert 0.17 < min(shares) < 0.25
        assert 0.43 < max(shares) < 0.55
        assert 0.7 < min(ratios) < 0.85
        assert 1.2 < max(ratios) < 1.45

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_damaged_image_is_named(self, cli, folder, workers):
        words = [
            "train-expert",
            folder,
            "run",
            *TINY,
            "--size",
            "8",
            "--workers",
            workers,
            "--batch-size",
            10,
        ]
        cli(*words[:2], "sound", *words[3:])
        damaged = folder / "train" / "class3" / "14.png"
        damaged.write_bytes(damaged.read_bytes()[:100])
        with pytest.MonkeyPatch.context() as patch:  # so many images that it is not in the sample
            patch.setattr("ddlabel.training.image_stream.SAMPLE", 5)
            said = cli(*words, code=3).err.decode()
        assert said.splitlines()[-1].startswith(
            "error: train/class3/14.png: cannot be read as an image"
        )
        assert "Traceback" not in said

    def test_a_resumed_run_is_an_uninterrupted_one(self, folder, tmp_path):
        stream, digest = ImageFolder.open(folder, 8)
        options = TrainExpertOptions(
            net="convnet-d1:width=4,norm=batch",
            epochs=4,
            batch_size=15,
            augment="random-resized-crop+flip",
            compile="off",
            precision="fp32",
        )
        before = len([*Path("/proc/self/fd").iterdir()])

        def train(name: str, stop_at: int | None) -> None:
            def report(record):
                if record["step"] == stop_at:
                    raise KeyboardInterrupt

            ((path, about),) = steps.plan(stream, tmp_path / name, options, digest)
            steps.train_expert(stream, None, path, about, options, report)

        train("whole", None)
        with pytest.raises(KeyboardInterrupt):
            train("killed", 8)
        assert (tmp_path / "killed" / "resume.pt").exists()
        options = replace(options, workers=0)  # makes no difference
        train("killed", None)
        assert contents(tmp_path / "whole") == contents(tmp_path / "killed")
        assert losses(tmp_path / "whole")[-1] < 3
        assert len([*Path("/proc/self/fd").iterdir()]) <= before + 1

    def test_refusals(self, cli, folder, tmp_path):
        assert b"--size, e.g. 224" in cli("train-expert", folder, "run", code=2).err
        formats.write(str(tmp_path / "b.safetensors"), make_bundle())
        for words in (["--size", 9], ["--workers", 1]):
            said = cli("train-expert", "b.safetensors", "run", *words, code=2).err
            assert b"are for a folder: this bundle has 8 px; leave them out" in said
        (tmp_path / "empty").mkdir()
        cli("train-expert", "empty", "run", "--size", 8, code=3)

    @pytest.mark.slow
    def test_interrupted_it_says_so_once(self, folder, tmp_path):
        words = [
            "train-expert",
            folder,
            "run",
            "--size",
            "8",
            "--net",
            "convnet-d1:width=4",
            "--epochs",
            "9999",
            "--precision",
            "fp32",
        ]
        how = settings(tmp_path) | {"capture_output": False, "timeout": None}
        how = {key: value for key, value in how.items() if value}
        job = subprocess.Popen(
            [sys.executable, "-m", "ddlabel", *words],
            **how,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        while not (tmp_path / "run" / "resume.pt").exists():
            assert job.poll() is None
            time.sleep(0.01)
        os.killpg(job.pid, signal.SIGINT)  # as a terminal does
        said = job.communicate(timeout=60)[1]
        assert job.returncode == 130
        assert said.count(b"error: ") == said.count(b"error: interrupted") == 1
        assert b"Traceback" not in said

    def test_the_digest_is_of_names_and_sizes(self, folder):
        first = ImageFolder.open(folder, 8)[1]
        assert first == ImageFolder.open(folder, 6)[1]
        path = folder / "train" / "class3" / "14.png"
        path.write_bytes(path.read_bytes() + b"x")
        second = ImageFolder.open(folder, 8)[1]
        path.rename(path.with_name("114.png"))
        assert len({first, second, ImageFolder.open(folder, 8)[1]}) == 3
        assert len(first) == len(hashlib.sha256().hexdigest())


class TestRecipe:
    def test_torchvisions_recipe(self):
        (options,) = TrainExpertOptions.load(
            "train-expert", None, {"protocol": "torchvision-imagenet"}
        )
        assert (options.net, options.size, options.epochs, options.batch_size) == (
            "resnet18",
            224,
            90,
            256,
        )
        ((_, about),) = steps.plan(
            make_bundle(images=2560, channels=3, size=40), Path("/nowhere"), options, ""
        )
        rate = steps._rate(options, about)
        assert about.steps_per_epoch == 10
        assert [rate(10 * epoch) for epoch in (0, 29, 30, 59, 60, 89)] == pytest.approx(
            [1, 1, 0.1, 0.1, 0.01, 0.01]
        )

    def test_values_on_the_command_line_win(self):
        given = {"protocol": "torchvision-imagenet", "epochs": 3, "size": 64}
        (options,) = TrainExpertOptions.load("train-expert", None, given)
        assert (options.epochs, options.size, options.batch_size) == (3, 64, 256)
