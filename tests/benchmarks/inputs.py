"""What the benchmarks work on, made once by ddlabel's own commands and kept in the folder of `--work`.

A file that lies there already is taken as it is: on a machine without the data, put smaller ones of these names there.
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
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.labels import Labels
from ddlabel.data.schema import LabelMeta, Pixels

from .harness import Settings

ROOT = Path(__file__).parents[2]


def command(*words: object) -> list[str]:
    """This copy of ddlabel as a command, to be run in `ROOT`."""
    return [sys.executable, "-m", "ddlabel", *map(str, words)]


def _made(path: Path, *words: object) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([*command(*words), "--quiet"], cwd=ROOT, check=True)
    return path


def real(settings: Settings, name: str = "cifar10", split: str = "train") -> Path:
    """All images of a part of CIFAR-10 or Imagenette at 128 px."""
    path = settings.work.resolve() / f"{name}-{split}.safetensors"
    return _made(path, "import", settings.data.resolve() / f"{name}.zip", path, "--split", split)


def few(settings: Settings, ipc: int = 10, name: str = "cifar10") -> Path:
    """Random images of each class."""
    path = settings.work.resolve() / f"{name}-ipc{ipc}.safetensors"
    return (
        path if path.exists() else _made(path, "select", real(settings, name), path, "--ipc", ipc)
    )


def expert(settings: Settings, net: str, name: str = "cifar10") -> Path:
    """A run whose labels cost what any expert's do, trained for a step."""
    path, device = settings.work.resolve() / f"{name}-{net}", ("--device", settings.device)
    return (
        path
        if path.exists()
        else _made(
            path,
            "train-expert",
            few(settings, name=name),
            path,
            "--net",
            net,
            "--epochs",
            1,
            *device,
        )
    )


def part(settings: Settings, whole: Path, images: int) -> Path:
    """Random images of a bundle as a file of its own."""
    path = settings.work.resolve() / f"{whole.stem}-{images}.safetensors"
    if not path.exists():
        bundle = formats.read(str(whole))
        formats.write(str(path), bundle.take(some(len(bundle), images)))
    return path


def some(count: int, images: int) -> np.ndarray:
    """Rows of so many of `count` images, always the same; all of them where there are no more."""
    return np.random.default_rng(0).permutation(count)[:images]


def noise(images: int, classes: int = 10, size: int = 1) -> Bundle:
    """Noise with logits for soft labels."""
    draw = np.random.default_rng(0)
    pixels = Pixels(space="uint8", mean=(0.5,) * 3, std=(0.25,) * 3)
    bundle = Bundle(
        classes=tuple(map(str, range(classes))),
        pixels=pixels,
        images=draw.integers(0, 256, (images, 3, size, size), np.uint8),
        hard_labels=np.arange(images) % classes,
    )
    return with_logits(bundle)


def with_logits(bundle: Bundle) -> Bundle:
    """The same with random soft labels."""
    values = (
        np.random.default_rng(1).normal(size=(len(bundle), len(bundle.classes))).astype(np.float32)
    )
    return bundle.with_labels("soft", Labels(values=values, meta=LabelMeta(space="logits")))


def tensors(
    bundle: Bundle, rows: np.ndarray | slice = slice(None), device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Normalised images and classes, as the field's loops take them."""
    mean, std = (
        torch.tensor(each).view(1, -1, 1, 1) for each in (bundle.pixels.mean, bundle.pixels.std)
    )
    images = torch.from_numpy(np.array(bundle.images[rows])).float().div_(255).sub_(mean).div_(std)
    return images.to(device), torch.from_numpy(np.array(bundle.hard_labels[rows])).to(device)


def pick(path: str | Path, epoch: str = "last") -> list[tuple[ExpertRun, int]]:
    """A run's checkpoint, as steps take it; `RUN@12` names the epoch."""
    (run,) = ExpertRun.find(str(path))
    return [(run, run.step_of(run.epoch or epoch))]


def hard_only(bundle: Bundle) -> Bundle:
    """The same without soft labels."""
    return replace(bundle, soft=None)
