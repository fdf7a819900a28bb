"""The expert run: a folder with `expert.json`, `metrics.jsonl` and `step-*.safetensors` files."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ddlabel.core.errors import UsageError
from ddlabel.data import atomic
from ddlabel.data.provenance import canonical_json, sha256_of_file, sha256_of_text
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

FORMAT = 1
_INFO = "expert.json"
_METRICS = "metrics.jsonl"
_WHITENING = "whitening.safetensors"
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class ExpertInfo:
    """The content of `expert.json`: how to build the network again, and what it was trained on.

    `mean` and `std` [C] normalise the pixels. `data` is the digest of the bundle it was trained on.
    """

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
    data: str
    options: dict[str, Any]
    format: int = FORMAT


class ExpertRun:
    """An expert run on disk. `epoch` is the epoch that its path named, or empty."""

    def __init__(self, folder: Path, epoch: str = "") -> None:
        """Read `expert.json` of a folder.

        Raises:
            InvalidInputError: The folder is not an expert run, or of another format version.
        """
        self.folder = folder
        self.epoch = epoch
        path = folder / _INFO
        with reading(folder, f"{_INFO} cannot be read as an expert run's"):
            require(
                path.exists(), f"not an expert run: it has no {_INFO}; make one with train-expert"
            )
            fields = json.loads(path.read_text(encoding="utf-8"))
            for name in ("classes", "mean", "std"):
                fields[name] = tuple(fields[name])
            self.about = ExpertInfo(**fields)
            version = self.about.format
            require(version == FORMAT, f"expert run format {version} is not format {FORMAT}")

    @classmethod
    def create(cls, folder: Path, about: ExpertInfo) -> Self:
        """Make the folder of a new run and write its `expert.json`.

        Raises:
            StorageError: The operating system refuses.
        """
        atomic.make_folder(folder)
        text = json.dumps(asdict(about), indent=1, sort_keys=True)
        _write(folder / _INFO, f"{text}\n".encode())
        return cls(folder)

    @classmethod
    def find(cls, path: str) -> list[Self]:
        """Return the run in a folder, or the runs in its subfolders sorted by name.

        A path such as `folder@12` also names the epoch of the runs.

        Raises:
            InvalidInputError: There is no expert run.
        """
        folder = Path(path)
        epoch = ""
        if not folder.is_dir() and "@" in path:
            name, _, epoch = path.rpartition("@")
            folder = Path(name)
        require(
            folder.is_dir(),
            f"{path}: there is no such expert run; make one with 'ddlabel train-expert'",
        )
        if (folder / _INFO).exists():
            return [cls(folder, epoch)]
        subfolders = sorted(info.parent for info in folder.glob(f"*/{_INFO}"))
        # Without any, opening the folder itself raises the error that names it.
        return [cls(run_folder, epoch) for run_folder in subfolders or [folder]]

    @property
    def epochs(self) -> dict[int, float]:
        """The epoch of each checkpoint on disk by its step, in order."""
        files = self.folder.glob("step-*.safetensors")
        steps = sorted(int(file.stem.removeprefix("step-")) for file in files)
        return {step: self.epoch_of(step) for step in steps}

    @property
    def complete(self) -> bool:
        """Whether the record of the last step is there."""
        return any(record["step"] == self.about.steps for record in self.metrics())

    def epoch_of(self, step: int) -> float:
        """Return the epoch of a step, which may be a fraction."""
        return step / self.about.steps_per_epoch

    def step_of(self, epoch: str) -> int:
        """Return the step of the checkpoint at `epoch`: a number such as `0.25`, or `last`.

        Raises:
            UsageError: `epoch` is not a number and not `last`.
            InvalidInputError: There is no such checkpoint.
        """
        epochs = self.epochs
        require(epochs, f"{self.folder}: the expert run has no checkpoint yet: train it on")
        if epoch == "last":
            return max(epochs)
        try:
            wanted = float(epoch) * self.about.steps_per_epoch
        except ValueError:
            raise UsageError(f"--epoch is {epoch!r}: expected a number, 'last' or 'auto'") from None
        nearest = min(epochs, key=lambda step: abs(step - wanted))
        # A fraction of an epoch is saved at a whole step: it is exact to half a step.
        exact = abs(nearest - wanted) <= 0.5 + 1e-6
        known = ", ".join(f"{number:g}" for number in epochs.values())
        require(exact, f"{self.folder}: no checkpoint of epoch {epoch}: choose one of {known}")
        return nearest

    def digest(self, step: int) -> str:
        """Return the sha256 that stands for a checkpoint: its weights, its run and the ZCA."""
        content = [sha256_of_file(self._checkpoint(step)), canonical_json(asdict(self.about))]
        if self.about.zca:
            content.append(sha256_of_file(self.folder / _WHITENING))
        return sha256_of_text(canonical_json(content))

    def weights(self, step: int) -> Arrays:
        """Return the parameters and buffers of a checkpoint by name.

        Raises:
            InvalidInputError: The file is missing, damaged or not the one of its record's sha256.
        """
        sha256 = None
        for record in self.metrics():
            if record["step"] == step:
                sha256 = record.get("sha256")
                break
        return _read_arrays(self._checkpoint(step), sha256)

    def save_weights(self, step: int, weights: Arrays) -> str:
        """Write a checkpoint and return its sha256, which belongs in its record."""
        return _write_arrays(self._checkpoint(step), weights)

    @property
    def has_whitening(self) -> bool:
        """Whether the file of the ZCA mean and matrix is there."""
        return (self.folder / _WHITENING).exists()

    def whitening(self) -> Arrays:
        """Return the run's ZCA as `mean` [1, C, H, W] and `matrix` [D, D].

        Raises:
            InvalidInputError: The file is missing or damaged.
        """
        return _read_arrays(self.folder / _WHITENING)

    def save_whitening(self, arrays: Arrays) -> None:
        """Write the ZCA mean and matrix."""
        _write_arrays(self.folder / _WHITENING, arrays)

    def metrics(self) -> list[dict[str, Any]]:
        """Return the records of the checkpoints, in order.

        Raises:
            InvalidInputError: The file cannot be read.
        """
        path = self.folder / _METRICS
        with reading(path, "cannot be read"):
            if not path.exists():
                return []
            lines = path.read_text(encoding="utf-8").splitlines()
            return [json.loads(line) for line in lines]

    def save_metrics(self, records: list[dict[str, Any]]) -> None:
        """Replace the records of the checkpoints."""
        lines = [f"{canonical_json(record)}\n" for record in records]
        _write(self.folder / _METRICS, "".join(lines).encode())

    def _checkpoint(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.safetensors"


class Checkpoint(NamedTuple):
    """A checkpoint of an expert run."""

    run: ExpertRun
    step: int

    @property
    def epoch(self) -> float:
        """The epoch of the checkpoint, which may be a fraction."""
        return self.run.epoch_of(self.step)

    @property
    def digest(self) -> str:
        """sha256 that stands for the checkpoint."""
        return self.run.digest(self.step)


Checkpoints = Sequence[Checkpoint]


def _write(path: Path, content: bytes) -> None:
    atomic.write(str(path), [content], size=len(content), force=True)


def _write_arrays(path: Path, arrays: Arrays) -> str:
    from safetensors.numpy import save

    # The library writes wrong numbers for an array that is not contiguous.
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    _write(path, save(contiguous))
    return sha256_of_file(path)


def _read_arrays(path: Path, sha256: str | None = None) -> Arrays:
    from safetensors.numpy import load_file

    with reading(path, "the checkpoint is damaged"):
        require(path.exists(), "the checkpoint is missing")
        intact = sha256 is None or sha256_of_file(path) == sha256
        require(intact, "the checkpoint does not match its sha256: the file is damaged")
        return dict(load_file(path))
