"""The expert run: a folder with `expert.json`, `metrics.jsonl` and one `step-*.safetensors` a checkpoint."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ddlabel.core.errors import UsageError
from ddlabel.data import atomic as files
from ddlabel.data.provenance import canonical_json, sha256_of_file, sha256_of_text
from ddlabel.data.schema import require

FORMAT = 1
_ABOUT = "expert.json"
_METRICS = "metrics.jsonl"
_WHITENING = "whitening.safetensors"
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class ExpertInfo:
    """What a run is: enough to build its network again and to know what it was trained on."""

    net: str
    classes: tuple[str, ...]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    zca: bool
    seed: int
    steps_per_epoch: int
    steps: int
    data: str  # digest of the bundle it was trained on
    options: dict[str, Any]
    format: int = FORMAT


class ExpertRun:
    """An expert run on disk; InvalidInputError if the folder is not one."""

    def __init__(self, folder: Path, epoch: str = "") -> None:
        self.folder, self.epoch = folder, epoch
        with files.reading(folder, f"{_ABOUT} cannot be read as an expert run's"):
            require(
                (folder / _ABOUT).exists(),
                f"not an expert run: it has no {_ABOUT}; make one with train-expert",
            )
            value = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            self.about = ExpertInfo(
                **value | {key: tuple(value[key]) for key in ("classes", "mean", "std")}
            )
            require(
                self.about.format == FORMAT,
                f"expert run format {self.about.format}, expected {FORMAT}",
            )

    @classmethod
    def create(cls, folder: Path, about: ExpertInfo) -> Self:
        """Begin a run in a folder."""
        files.make_folder(folder)
        _write(
            folder / _ABOUT, json.dumps(asdict(about), indent=1, sort_keys=True).encode() + b"\n"
        )
        return cls(folder)

    @classmethod
    def find(cls, path: str) -> list[Self]:
        """The run in a folder, or the runs in its subfolders, sorted by name; `folder@12` names their `epoch` too.

        InvalidInputError if there is none.
        """
        folder, epoch = Path(path), ""
        if not folder.is_dir() and "@" in path:
            name, _, epoch = path.rpartition("@")
            folder = Path(name)
        require(
            folder.is_dir(),
            f"{path}: there is no such expert run; make one with 'ddlabel train-expert'",
        )
        inside = (
            []
            if (folder / _ABOUT).exists()
            else sorted(p.parent for p in folder.glob(f"*/{_ABOUT}"))
        )
        return [cls(each, epoch) for each in inside or [folder]]

    @property
    def epochs(self) -> dict[int, float]:
        """The epoch of each checkpoint by its step, in order."""
        steps = sorted(
            int(p.stem.removeprefix("step-")) for p in self.folder.glob("step-*.safetensors")
        )
        return {step: step / self.about.steps_per_epoch for step in steps}

    @property
    def complete(self) -> bool:
        """Whether the last checkpoint and its record are there."""
        return any(record["step"] == self.about.steps for record in self.metrics())

    def step_of(self, epoch: str) -> int:
        """The step of the checkpoint at an epoch (`12`, `0.25`) or of the `last` one.

        UsageError for a word that is no epoch, InvalidInputError if there is no such checkpoint.
        """
        epochs = self.epochs
        require(epochs, f"{self.folder}: the expert run has no checkpoint yet")
        if epoch == "last":
            return max(epochs)
        try:
            wanted = float(epoch) * self.about.steps_per_epoch
        except ValueError:
            raise UsageError(f"--epoch is {epoch!r}: expected a number, 'last' or 'auto'") from None
        nearest = min(epochs, key=lambda step: abs(step - wanted))
        # A fraction of an epoch is saved at a whole step: it is exact to half a step.
        there = abs(nearest - wanted) <= 0.5 + 1e-6
        known = ", ".join(f"{at:g}" for at in epochs.values())
        require(there, f"{self.folder}: no checkpoint of epoch {epoch}: there are {known}")
        return nearest

    def digest(self, step: int) -> str:
        """sha256 that stands for one checkpoint: its weights, and what `expert.json` says of them."""
        content = [sha256_of_file(self._checkpoint(step)), canonical_json(asdict(self.about))]
        if self.about.zca:
            content.append(sha256_of_file(self.folder / _WHITENING))
        return sha256_of_text(canonical_json(content))

    def weights(self, step: int) -> Arrays:
        """The parameters and buffers of a checkpoint by name, verified against the sha256 in its record.

        InvalidInputError if the file is missing or damaged.
        """
        sha256 = next(
            (record.get("sha256") for record in self.metrics() if record["step"] == step), None
        )
        return _read(self._checkpoint(step), sha256)

    def save_weights(self, step: int, weights: Arrays) -> str:
        """Write a checkpoint and return its sha256, which belongs in its record."""
        return _write_arrays(self._checkpoint(step), weights)

    @property
    def has_whitening(self) -> bool:
        """Whether the ZCA matrix is there."""
        return (self.folder / _WHITENING).exists()

    def whitening(self) -> Arrays:
        """`mean` [1, C, H, W] and `matrix` [D, D] of the run's ZCA."""
        return _read(self.folder / _WHITENING)

    def save_whitening(self, arrays: Arrays) -> None:
        """Write the ZCA mean and matrix."""
        _write_arrays(self.folder / _WHITENING, arrays)

    def metrics(self) -> list[dict[str, Any]]:
        """The records of the checkpoints, in order."""
        path = self.folder / _METRICS
        with files.reading(path, "cannot be read"):
            return (
                [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
                if path.exists()
                else []
            )

    def save_metrics(self, records: list[dict[str, Any]]) -> None:
        """Replace the records."""
        _write(
            self.folder / _METRICS,
            "".join(canonical_json(record) + "\n" for record in records).encode(),
        )

    def _checkpoint(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.safetensors"


def share_of_best(ipc: float) -> float:
    """Which share of a run's best accuracy the expert for a budget of `ipc` images per class should have.

    0.6 + 0.2·log₁₀(ipc), at most 1: a line through the best experts of Label-Worth's Table 7 (and its CIFAR-10
    figures), whose accuracies stand to the final one as 0.50 … 0.75 at IPC 1, 0.71 … 0.91 at 10, 0.90 … 1 at 50 and
    1 at 100. ImageNet's ResNet18 lies below it (0.25 at IPC 1).
    """
    return min(1.0, 0.6 + 0.2 * math.log10(max(ipc, 1)))


def early_stop(run: ExpertRun, ipc: float) -> int:
    """The step of the early-stopped checkpoint that suits a budget of `ipc` images per class.

    The rule: the first checkpoint whose accuracy on a fixed sample of the *training* images reaches
    `share_of_best(ipc)` of the run's best. Test data are never looked at.

    InvalidInputError if the run has no training accuracies.
    """
    accuracies = {
        record["step"]: record["train_accuracy"]
        for record in run.metrics()
        if "train_accuracy" in record
    }
    require(
        accuracies,
        f"{run.folder}: no training accuracies for --epoch auto: name an epoch, or 'last'",
    )
    goal = share_of_best(ipc) * max(accuracies.values())
    step = min(int(step) for step, accuracy in accuracies.items() if accuracy >= goal)
    require(
        step in run.epochs,
        f"{run.folder}: step {step}, which auto takes, has no checkpoint: name an epoch",
    )
    return step


def _write(path: Path, content: bytes) -> None:
    files.write(str(path), [content], size=len(content))


def _write_arrays(path: Path, arrays: Arrays) -> str:
    from safetensors.numpy import save

    # The library writes wrong numbers for an array that is not contiguous.
    _write(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    return sha256_of_file(path)


def _read(path: Path, sha256: str | None = None) -> Arrays:
    from safetensors.numpy import load_file

    with files.reading(path, "the checkpoint is damaged"):
        require(path.exists(), "the checkpoint is missing")
        intact = sha256 is None or sha256_of_file(path) == sha256
        require(intact, "the checkpoint does not match its sha256: the file is damaged")
        return dict(load_file(path))
