"""The data-knowledge scaling law, and the front of accuracy against bytes (Label-Worth, Fig. 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.labels import Array
from ddlabel.figures.colours import BLACK, GREY, SERIES
from ddlabel.figures.comparisons import rows_of_group, table_over, whiskers
from ddlabel.figures.registry import Drawing, Table, Value, draws
from ddlabel.figures.students import Student, label_of, left_out_notes
from ddlabel.figures.style import SMALL, legend_above, log_scale, new_axes

# The exponent and the offset of Label-Worth's law on Tiny ImageNet (section 4.3).
PAPER_EXPONENT = 0.077
PAPER_OFFSET = 0.8
_PAPER_SCALE = 29.9
# Exponent and offset are fitted where a group has so many budgets; else they are the paper's.
_ENOUGH_BUDGETS = 4
_MARKERS = "osD^vP*X"


@dataclass(frozen=True, kw_only=True)
class ScalingLaw:
    """accuracy = (f · IPC / scale)^exponent − offset, with one f for each group; accuracy 0 … 1.

    `f` of the first group is 1: f is how many images an image of a group is worth.
    """

    scale: float
    exponent: float
    offset: float
    factors: Mapping[str, float]

    def accuracy(self, group: str, ipc: Array) -> Array:
        """Return the accuracy of a group at budgets of images per class."""
        scaled = self.factors[group] * np.asarray(ipc, np.float64) / self.scale
        return np.asarray(scaled**self.exponent - self.offset)


def fit_law(groups: Mapping[str, tuple[Array, Array]]) -> ScalingLaw:
    """Fit the law by least squares to the budgets and accuracies, 0 … 1, of every group.

    Exponent and offset are the paper's unless a group has four budgets or more.

    Raises:
        IncompatibleError: No group has two budgets.
    """
    num_budgets = max(len(np.unique(ipc)) for ipc, _ in groups.values())
    if num_budgets < 2:
        raise IncompatibleError(
            "scaling: every group has one number of images per class: evaluate bundles of several"
        )
    names = list(groups)
    is_free = num_budgets >= _ENOUGH_BUDGETS

    def law(parameters: Array) -> ScalingLaw:
        scale, *factors = np.exp(parameters[: len(names)])
        shape = parameters[len(names) :] if is_free else (PAPER_EXPONENT, PAPER_OFFSET)
        return ScalingLaw(
            scale=float(scale),
            exponent=float(shape[0]),
            offset=float(shape[1]),
            factors=dict(zip(names, [1.0, *map(float, factors)], strict=True)),
        )

    def residuals(parameters: Array) -> Array:
        fitted = law(parameters)
        parts = [fitted.accuracy(name, ipc) - of for name, (ipc, of) in groups.items()]
        return np.concatenate(parts)

    start = [np.log(_PAPER_SCALE)] + [0.0] * (len(names) - 1)
    low = [-50.0] * len(names)
    high = [50.0] * len(names)
    if is_free:
        start += [PAPER_EXPONENT, PAPER_OFFSET]
        low += [1e-4, -1.0]
        high += [3.0, 20.0]
    solved = least_squares(residuals, start, bounds=(low, high), x_scale="jac", max_nfev=5000)
    return law(solved.x)


def scaling_table(students: Sequence[Student]) -> tuple[Table, ScalingLaw]:
    """Return accuracy over images per class with the fitted accuracy, and the law."""
    table = table_over(students, ["ipc"], "scaling")
    groups = {}
    for name, rows in rows_of_group(table).items():
        groups[name] = (rows[:, 0], rows[:, 2] / 100)
    law = fit_law(groups)
    rows_with_fit: list[list[Value]] = []
    for row in table.rows:
        name = str(row[0])
        fitted = 100 * float(law.accuracy(name, np.array([row[1]]))[0])
        shape = [law.factors[name], law.scale, law.exponent, law.offset]
        rows_with_fit.append([*row, fitted, *shape])
    columns = [*table.columns, "fitted_percent", "f", "scale", "exponent", "offset"]
    return Table(columns=columns, rows=rows_with_fit), law


@draws("results")
def scaling(students: Sequence[Student]) -> Drawing:
    """Accuracy over images per class with the fitted scaling law (Label-Worth, Fig. 6 left)."""
    table, law = scaling_table(students)
    groups = rows_of_group(table)
    figure, axes = new_axes(2.5)
    every_ipc = np.concatenate([rows[:, 0] for rows in groups.values()])
    line = np.geomspace(every_ipc.min(), every_ipc.max(), 100)
    for (name, rows), colour, marker in zip(groups.items(), SERIES, _MARKERS, strict=False):
        lengths = whiskers(rows[:, 2], rows[:, 4])
        label = label_of(f"{name}, f = {law.factors[name]:.2f}")
        axes.errorbar(
            rows[:, 0], rows[:, 2], lengths, fmt=marker, color=colour, capsize=2, label=label
        )
        axes.plot(line, 100 * law.accuracy(name, line), "-", color=colour, linewidth=0.9)
    log_scale(axes.xaxis, np.unique(every_ipc).tolist())
    axes.set_xlabel("images per class (IPC)")
    axes.set_ylabel("test accuracy, %")
    formula = f"accuracy = (f · IPC / {law.scale:.3g})^{law.exponent:.3g} − {law.offset:.3g}"
    axes.set_title(formula, size=SMALL)
    legend_above(figure)
    return Drawing(figure, table, left_out_notes(groups, len(SERIES)))


def pareto_table(students: Sequence[Student]) -> Table:
    """Return mean accuracy over bytes, and whether a point is on the front: 1 or 0.

    A point is on the front if no other has at least its accuracy with fewer bytes, or more with as
    many.
    """
    table = table_over(students, ["bytes", "ipc"], "pareto")
    points = [(float(row[1] or 0), float(row[4] or 0)) for row in table.rows]
    rows: list[list[Value]] = []
    for row, (size, accuracy) in zip(table.rows, points, strict=True):
        is_beaten = any(
            (other_size < size and other >= accuracy) or (other_size == size and other > accuracy)
            for other_size, other in points
        )
        rows.append([*row, int(not is_beaten)])
    return Table(columns=[*table.columns, "on_front"], rows=rows)


@draws("results")
def pareto(students: Sequence[Student]) -> Drawing:
    """Accuracy against the bytes of images and labels, with the Pareto front (Label-Worth)."""
    table = pareto_table(students)
    groups = rows_of_group(table)
    drawn_rows = np.concatenate([*groups.values()][: len(SERIES)])
    figure, axes = new_axes(2.5)
    every_row = np.concatenate(list(groups.values()))
    front = every_row[every_row[:, -1] == 1]
    front = front[front[:, 0].argsort()]
    axes.step(front[:, 0], front[:, 3], where="post", color=BLACK, linewidth=0.8, label="front")
    for (name, rows), colour, marker in zip(groups.items(), SERIES, _MARKERS, strict=False):
        lengths = whiskers(rows[:, 3], rows[:, 5])
        axes.errorbar(
            rows[:, 0],
            rows[:, 3],
            lengths,
            fmt=marker,
            color=colour,
            capsize=2,
            label=label_of(name),
        )
    for size, ipc, _, accuracy, *_ in drawn_rows:
        axes.annotate(
            f"{ipc:g}",
            (size, accuracy),
            xytext=(3, -7),
            textcoords="offset points",
            size=SMALL,
            color=GREY,
        )
    log_scale(axes.xaxis, steps=(1, 3))
    axes.set_xlabel("bytes of images and labels (number: IPC)")
    axes.set_ylabel("test accuracy, %")
    legend_above(figure)
    return Drawing(figure, table, left_out_notes(groups, len(SERIES)))
