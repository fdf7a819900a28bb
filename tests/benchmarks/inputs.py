"""The inputs of the benchmarks, made once by ddlabel's commands and kept in the folder of `--work`.

A file that is there is not made again: on a machine without the data, put smaller files of the
same names there.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import Checkpoint, Checkpoints, ExpertRun
from ddlabel.data.labels import Array, Labels
from ddlabel.data.schema import LabelMeta, Pixels

from .harness import Settings

ROOT = Path(__file__).parents[2]


def ddlabel_command(*words: object) -> list[str]:
    """Return the words that run this copy of ddlabel, in the folder `ROOT`."""
    return [sys.executable, "-m", "ddlabel", *map(str, words)]


def _run_ddlabel(out: Path, *words: object) -> None:
    """Run a command of ddlabel that writes to the folder of `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([*ddlabel_command(*words), "--quiet"], cwd=ROOT, check=True)


def real_images(settings: Settings, name: str = "cifar10", split: str = "train") -> Path:
    """Return the bundle of all images of a split of CIFAR-10, or of Imagenette at 128 px."""
    path = settings.work.resolve() / f"{name}-{split}.safetensors"
    if not path.exists():
        archive = settings.data.resolve() / f"{name}.zip"
        _run_ddlabel(path, "import", archive, path, "--split", split)
    return path


def few_images(settings: Settings, ipc: int = 10, name: str = "cifar10") -> Path:
    """Return a bundle of `ipc` random images of each class."""
    path = settings.work.resolve() / f"{name}-ipc{ipc}.safetensors"
    if not path.exists():
        real = real_images(settings, name)
        _run_ddlabel(path, "select", real, path, "--ipc", ipc)
    return path


def expert_run(settings: Settings, net: str, name: str = "cifar10") -> Path:
    """Return an expert run of one epoch on few images: its labels cost what any expert's do."""
    path = settings.work.resolve() / f"{name}-{net}"
    if not path.exists():
        options = ("--net", net, "--epochs", 1, "--device", settings.device)
        few = few_images(settings, name=name)
        _run_ddlabel(path, "train-expert", few, path, *options)
    return path


def sample_file(settings: Settings, whole: Path, num_images: int) -> Path:
    """Return a bundle file of some random images of another one."""
    path = settings.work.resolve() / f"{whole.stem}-{num_images}.safetensors"
    if not path.exists():
        bundle = formats.read(str(whole))
        rows = sample_rows(len(bundle), num_images)
        formats.write(str(path), bundle.take(rows))
    return path


def sample_rows(num_rows: int, num_images: int) -> Array:
    """Return the rows of at most `num_images` random images of `num_rows`, always the same."""
    return np.random.default_rng(0).permutation(num_rows)[:num_images]


def noise_bundle(num_images: int, num_classes: int = 10, size: int = 1) -> Bundle:
    """Return images of noise with random logits as soft labels."""
    generator = np.random.default_rng(0)
    shape = (num_images, 3, size, size)
    bundle = Bundle(
        classes=tuple(map(str, range(num_classes))),
        pixels=Pixels(space="uint8", mean=(0.5,) * 3, std=(0.25,) * 3),
        images=generator.integers(0, 256, shape, np.uint8),
        hard_labels=np.arange(num_images) % num_classes,
    )
    return with_random_logits(bundle)


def with_random_logits(bundle: Bundle) -> Bundle:
    """Return the bundle with random logits as soft labels."""
    shape = (len(bundle), bundle.num_classes)
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return bundle.with_labels("soft", Labels(values=values, meta=LabelMeta(space="logits")))


def without_soft_labels(bundle: Bundle) -> Bundle:
    """Return the bundle without soft labels."""
    return replace(bundle, soft=None)


def normalised_tensors(
    bundle: Bundle, rows: Array | slice = slice(None), device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return normalised images [n, C, H, W] and their classes [n]."""
    mean = torch.tensor(bundle.pixels.mean).view(1, -1, 1, 1)
    std = torch.tensor(bundle.pixels.std).view(1, -1, 1, 1)
    # Copies: torch warns of arrays that it may not write to.
    pixels = torch.from_numpy(np.array(bundle.images[rows]))
    classes = torch.from_numpy(np.array(bundle.hard_labels[rows]))
    images = pixels.float().div_(255).sub_(mean).div_(std)
    return images.to(device), classes.to(device)


def checkpoint_of(path: str | Path) -> Checkpoints:
    """Return the last checkpoint of an expert run, or the one that `RUN@12` names."""
    (run,) = ExpertRun.find(str(path))
    step = run.step_of(run.epoch or "last")
    return [Checkpoint(run, step)]
