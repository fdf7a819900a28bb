"""Small expert runs: trained in a second, or written with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ddlabel.commands.reporter import Reporter
from ddlabel.commands.train_expert import train_expert
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertInfo, ExpertRun
from ddlabel.training.labeler import network_of

SMALL = {
    "net": "convnet-d1:width=4",
    "epochs": 1,
    "batch_size": 10,
    "compile": "off",
    "precision": "fp32",
}
# A variance of noise would be negative, and a counter of noise no counter.
FIXED = ("running_var", "num_batches_tracked")


def train_small_expert(real: Bundle, folder: Path, **options) -> ExpertRun:
    """A run of a small network, one epoch long unless `options` say otherwise."""
    (run,) = train_expert(real, folder, **SMALL | options)
    return run


def write_run(
    folder: Path, bundle: Bundle, *, net: str, steps: int = 1, seed: int = 0
) -> ExpertRun:
    """A run of one step per epoch whose checkpoints have noise for weights and running means."""
    info = ExpertInfo(
        net=net,
        classes=bundle.classes,
        channels=bundle.images.shape[1],
        size=bundle.side,
        mean=bundle.pixels.mean,
        std=bundle.pixels.std,
        zca=False,
        seed=seed,
        steps_per_epoch=1,
        steps=steps,
        data="",
        options={},
    )
    run = ExpertRun.create(folder, info)
    generator = np.random.default_rng(seed)
    records = []
    for step in range(1, steps + 1):
        weights = {}
        for name, tensor in network_of(info).body.state_dict().items():
            weights[name] = tensor.numpy()
            if not name.endswith(FIXED):
                weights[name] = generator.normal(size=tensor.shape).astype(np.float32)
        records.append({"step": step, "epoch": step, "sha256": run.save_weights(step, weights)})
    run.save_metrics(records)
    return run


class StopAfter(Reporter):
    """Interrupts the training when so many checkpoints are saved."""

    def __init__(self, num_checkpoints: int) -> None:
        self.num_checkpoints = num_checkpoints

    def note(self, text: str) -> None:
        if text.startswith("epoch"):
            self.num_checkpoints -= 1
            if self.num_checkpoints == 0:
                raise KeyboardInterrupt


def read_files(folder: Path) -> dict[str, bytes]:
    """The bytes of all files of a folder, by their paths in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
