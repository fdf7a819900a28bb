"""The results of one cell of an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ddlabel.commands.compare.observations import FIGURES
from ddlabel.commands.evaluate.controls import dd_ranking_scores
from ddlabel.commands.evaluate.experiment import OWN
from ddlabel.core.config import EvaluateOptions
from ddlabel.data.record import Record
from ddlabel.methods.intervals import Comparison, Summary, compare, summarise_percent


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of a grid's options, and its students.

    Accuracies and other figures are in per cent here. In the records they are fractions.

    Attributes:
        options: The options, with one value for every axis and with every default chosen.
        records: The records of the students, one for each seed.
        against: The cell of the labels of `against`, with the same seeds.
        controls: The cells of the controls by their role, see `control_experiments`.
    """

    options: EvaluateOptions
    records: Sequence[Record]
    against: "Cell | None" = None
    controls: Mapping[str, "Cell"] = field(default_factory=dict)

    def __repr__(self) -> str:
        place = self.place(EvaluateOptions.AXES)
        return f"<Cell: {len(self.records)} students, {self.accuracy.mean:.2f} %, {place}>"

    @property
    def accuracy(self) -> Summary:
        """Mean, deviation and 95 % interval of the test accuracy over students, in per cent."""
        return self.summary("accuracy")

    def summary(self, figure: str) -> Summary:
        """Summarise a figure over students, in per cent."""
        return summarise_percent(self.percent(figure))

    def percent(self, figure: str = "accuracy") -> list[float]:
        """Return a figure of every student, in per cent."""
        return [100 * record.result[figure] for record in self.records]

    @property
    def figures(self) -> list[str]:
        """The figures that every student has.

        There is no top-5 accuracy of few classes, and no calibration error of a student that
        diverged.
        """
        return [
            name
            for name in FIGURES
            if all(record.result.get(name) is not None for record in self.records)
        ]

    @property
    def num_diverged(self) -> int:
        """The number of students that ended with a loss that is not finite."""
        # A class-incremental student has no loss of its own.
        return sum(record.result.get("loss", 0.0) is None for record in self.records)

    @property
    def comparison(self) -> Comparison | None:
        """The difference of accuracies to those of `against`, paired by seed, in points."""
        if self.against is None:
            return None
        return compare(self.percent(), self.against.percent())

    @property
    def scores(self) -> dict[str, Summary]:
        """DD-Ranking's scores by name, of fractions, see `dd_ranking_scores`."""
        if not self.controls:
            return {}
        cells = {OWN: self, **self.controls}
        accuracies = {}
        for role, cell in cells.items():
            accuracies[role] = [percent / 100 for percent in cell.percent()]
        return dd_ranking_scores(accuracies)

    def place(self, axes: Sequence[str]) -> str:
        """Return the place of the cell in a grid of these axes: `loss=gift optimizer=adam`."""
        return " ".join(f"{axis}={getattr(self.options, axis)}" for axis in axes)

    def value(self) -> dict[str, Any]:
        """Return the cell as `--json` prints it.

        These are its place in the grid, its students with their accuracies as fractions, a summary
        of each figure in per cent, and what it is compared with.
        """
        value: dict[str, Any] = {axis: getattr(self.options, axis) for axis in EvaluateOptions.AXES}
        value["select"] = self.options.select
        value["students"] = self._students()
        value["accuracies"] = [record.result["accuracy"] for record in self.records]
        value["diverged"] = self.num_diverged
        value["percent"] = asdict(self.accuracy)
        for name in self.figures:
            if name != "accuracy":
                value[name] = asdict(self.summary(name))
        if self.against is not None and self.comparison is not None:
            value["against"] = self.against.value() | asdict(self.comparison)
        if self.controls:
            value["controls"] = {role: cell.value() for role, cell in self.controls.items()}
            value["scores"] = {name: asdict(score) for name, score in self.scores.items()}
        return value

    def _students(self) -> dict[str, Any]:
        """Return what identifies the students, so that `compare` can read a sweep's cells."""
        record = self.records[0]
        options = {name: value for name, value in record.options.items() if name != "seed"}
        return {
            "keys": [each.key for each in self.records],
            "seeds": [each.options["seed"] for each in self.records],
            "inputs": record.inputs,
            "options": options,
            "role": record.role,
            "origins": record.origins,
        }
