"""The expert run: a folder with `expert.json`, `metrics.jsonl` and `step-*.safetensors` files."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from ddlabel.core.errors import UsageError
from ddlabel.data import atomic, run_files
from ddlabel.data.provenance import canonical_json, sha256_of_file, sha256_of_text
from ddlabel.data.reading import read_limited, reading
from ddlabel.data.run_files import INFO, MAX_TEXT_BYTES, METRICS, WHITENING, Arrays
from ddlabel.data.schema import require

FORMAT = 1


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

    @property
    def is_imported(self) -> bool:
        """Whether another program trained it: the seed does not tell its first weights."""
        return "sources" in self.options

    @property
    def digest(self) -> str:
        """sha256 of all fields."""
        return sha256_of_text(canonical_json(asdict(self)))

    def to_json(self) -> str:
        """Return the text of `expert.json`: the fields and their digest."""
        values = run_files.with_digest(asdict(self))
        return json.dumps(values, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read the text of `expert.json` and verify its digest.

        Raises:
            InvalidInputError: It is damaged, or of another format version.
            ValueError, TypeError, KeyError, RecursionError: It has another form.
        """
        version = json.loads(text)["format"]
        require(version == FORMAT, f"{INFO} is of format {version}: expected format {FORMAT}")
        values = run_files.without_digest(text, name=INFO)
        for name in ("classes", "mean", "std"):
            values[name] = tuple(values[name])
        info = cls(**values)
        # A change of spaces or a field that is there twice has no effect on the digest.
        require(info.to_json().encode() == text, f"{INFO} is damaged: it has another layout")
        return info


class ExpertRun:
    """An expert run on disk. `epoch` is the epoch that its path named, or empty."""

    def __init__(self, folder: Path, epoch: str = "") -> None:
        """Read `expert.json` of a folder.

        Raises:
            InvalidInputError: The folder is not an expert run, its `expert.json` is damaged, or it
                is of another format version.
        """
        self.folder = folder
        self.epoch = epoch
        path = folder / INFO
        with reading(folder, f"{INFO} cannot be read as an expert run's"):
            require(
                path.exists(),
                f"not an expert run: it has no {INFO}; make one with train-expert or import-expert",
            )
            self.about = ExpertInfo.from_json(read_limited(path, MAX_TEXT_BYTES, name=INFO))

    @classmethod
    def create(cls, folder: Path, about: ExpertInfo) -> Self:
        """Make the folder of a new run and write its `expert.json`.

        Raises:
            StorageError: The operating system refuses.
        """
        atomic.make_folder(folder)
        run_files.write_file(folder / INFO, about.to_json().encode())
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
        if (folder / INFO).exists():
            return [cls(folder, epoch)]
        subfolders = sorted(info.parent for info in folder.glob(f"*/{INFO}"))
        # Without any, opening the folder itself raises the error that names it.
        return [cls(run_folder, epoch) for run_folder in subfolders or [folder]]

    @property
    def epochs(self) -> dict[int, float]:
        """The epoch of each checkpoint on disk by its step, in order."""
        steps = []
        for path in self.folder.iterdir():
            step = run_files.checkpoint_step(path.name)
            if step is not None:
                steps.append(step)
        return {step: self.epoch_of(step) for step in sorted(steps)}

    @property
    def complete(self) -> bool:
        """Whether the record of the last step is there."""
        return any(record["step"] == self.about.steps for record in self.saved_metrics())

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
            raise UsageError(
                f"the epoch of an expert is {epoch!r}: expected a number, 'last' or 'auto'"
            ) from None
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
            content.append(sha256_of_file(self.folder / WHITENING))
        return sha256_of_text(canonical_json(content))

    def weights(self, step: int) -> Arrays:
        """Return the parameters and buffers of a checkpoint by name.

        Raises:
            InvalidInputError: The file is missing, damaged or not the one of its record's sha256,
                or it has no record.
        """
        record_of_step = {record["step"]: record for record in self.metrics()}
        return self.recorded_weights(record_of_step.get(step, {"step": step}))

    def recorded_weights(self, record: dict[str, Any]) -> Arrays:
        """Return the parameters and buffers of the checkpoint of a record: see `weights`."""
        path = self._checkpoint(record["step"])
        sha256 = record.get("sha256")
        require(sha256, f"{path}: {METRICS} has no sha256 of this checkpoint: train the run on")
        return run_files.read_arrays(path, str(sha256))

    def save_weights(self, step: int, weights: Arrays) -> str:
        """Write a checkpoint and return its sha256, which belongs in its record."""
        return run_files.write_arrays(self._checkpoint(step), weights)

    def remove_weights_after(self, step: int) -> None:
        """Remove the checkpoints after a step: training makes them again."""
        for later in self.epochs:
            if later > step:
                self._checkpoint(later).unlink(missing_ok=True)

    @property
    def has_whitening(self) -> bool:
        """Whether the file of the ZCA mean and matrix is there."""
        return (self.folder / WHITENING).exists()

    def whitening(self) -> Arrays:
        """Return the run's ZCA as `mean` [1, C, H, W] and `matrix` [D, D].

        Raises:
            InvalidInputError: The file is missing or damaged.
        """
        arrays, _ = run_files.read_signed_arrays(self.folder / WHITENING)
        return arrays

    def save_whitening(self, arrays: Arrays) -> None:
        """Write the ZCA mean and matrix."""
        run_files.write_signed_arrays(self.folder / WHITENING, arrays)

    def metrics(self) -> list[dict[str, Any]]:
        """Return the records of the checkpoints, in order.

        Raises:
            InvalidInputError: The file cannot be read or is damaged, or a checkpoint has no record.
        """
        records = self.saved_metrics()
        recorded = {record["step"] for record in records}
        for step in self.epochs:
            require(
                step in recorded,
                f"{self.folder / METRICS}: step {step} has a checkpoint and no record: train the "
                "run on, or remove the checkpoint",
            )
        return records

    def saved_metrics(self) -> list[dict[str, Any]]:
        """Return the records that are saved. A killed run can have a checkpoint without one.

        Raises:
            InvalidInputError: The file cannot be read or is damaged.
        """
        path = self.folder / METRICS
        with reading(path, "cannot be read"):
            if not path.exists():
                return []
            content = read_limited(path, MAX_TEXT_BYTES)
            records = []
            last_step = -1
            for number, line in enumerate(content.splitlines(), start=1):
                record = run_files.without_digest(line, name=f"line {number}")
                is_next = record["step"] > last_step
                require(is_next, f"line {number} is of an earlier step: the file is damaged")
                last_step = record["step"]
                records.append(record)
            require(content == _lines_of(records), "it is damaged: a line has another layout")
            return records

    def save_metrics(self, records: Sequence[dict[str, Any]]) -> None:
        """Replace the records of the checkpoints."""
        run_files.write_file(self.folder / METRICS, _lines_of(records))

    def _checkpoint(self, step: int) -> Path:
        return self.folder / run_files.checkpoint_name(step)


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


def _lines_of(records: Sequence[dict[str, Any]]) -> bytes:
    """Return the content of `metrics.jsonl`: a line for each record, with its digest."""
    lines = [canonical_json(run_files.with_digest(record)) for record in records]
    return "".join(f"{line}\n" for line in lines).encode()
