"""The training curve of an expert, with the epochs that early stopping chooses."""

from collections.abc import Sequence

from ddlabel.core.errors import UsageError
from ddlabel.data.early_stopping import early_stop
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.schema import require
from ddlabel.figures.colours import BLUE, GREY, ORANGE
from ddlabel.figures.registry import Drawing, Table, Value, draws
from ddlabel.figures.style import SMALL, legend_above, new_figure


def curve_table(run: ExpertRun, ipc: tuple[float, ...] = ()) -> Table:
    """Return loss and accuracies of every checkpoint, and the budgets that it is chosen for.

    `chosen_for_ipc` lists the images per class of `ipc` for which `--epoch auto` takes the
    checkpoint, and `goal_missed_for_ipc` those of them whose goal no checkpoint reaches.

    Raises:
        InvalidInputError: The run has no record.
    """
    records = run.metrics()
    require(records, f"{run.folder}: the expert run has no checkpoint yet: train it on")
    # An imported run has no loss, and accuracies only if images were given for them.
    is_measured = any("train_accuracy" in record for record in records)
    stops = {budget: early_stop(run, budget) for budget in ipc if is_measured}
    rows: list[list[Value]] = []
    for record in records:
        chosen = [budget for budget, stop in stops.items() if stop.step == record["step"]]
        missed = [budget for budget in chosen if not stops[budget].is_reached]
        accuracies = [record.get("train_accuracy"), record.get("test_accuracy")]
        budgets = [" ".join(f"{budget:g}" for budget in each) for each in (chosen, missed)]
        rows.append([record["epoch"], record.get("loss"), *accuracies, *budgets])
    columns = ["epoch", "loss", "train_accuracy", "test_accuracy"]
    columns += ["chosen_for_ipc", "goal_missed_for_ipc"]
    return Table(columns=columns, rows=rows)


@draws("run", by_default=True)
def expert_curve(run: ExpertRun, *, ipc: tuple[float, ...] = (1, 10, 50)) -> Drawing:
    """Accuracy and loss by epoch, with the epochs of early stopping (Label-Worth, Fig. 2)."""
    if not ipc or min(ipc) < 1:
        raise UsageError("expert-curve: ipc: expected images per class from 1 on, such as 1/10/50")
    table = curve_table(run, ipc)
    epochs = [row[0] for row in table.rows]
    figure = new_figure(2.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for place, name, colour, style in ((2, "training", BLUE, "o-"), (3, "test", ORANGE, "s--")):
        accuracies = [row[place] for row in table.rows]
        if any(accuracy is not None for accuracy in accuracies):
            percent = [None if value is None else 100 * float(value) for value in accuracies]
            upper.plot(epochs, percent, style, color=colour, label=f"{name} images")
    for row in table.rows:
        if row[4]:
            upper.axvline(row[0], color=GREY, linestyle=":", linewidth=1)
            upper.annotate(
                _budgets_text(str(row[4]).split(), str(row[5]).split()),
                (row[0], 1.01),
                xycoords=("data", "axes fraction"),
                ha="center",
                size=SMALL,
                color=GREY,
                annotation_clip=False,
            )
    upper.set_ylabel("accuracy, %")
    if upper.get_legend_handles_labels()[0]:
        legend_above(figure)
    lower.plot(epochs, [row[1] for row in table.rows], "o-", color=BLUE)
    lower.set_ylabel("training loss")
    lower.set_xlabel("epoch (dotted: those that auto takes for these budgets)")
    return Drawing(figure, table)


def _budgets_text(chosen: Sequence[str], missed: Sequence[str]) -> str:
    """Return which budgets a checkpoint is chosen for, in lines: those of a missed goal apart."""
    reached = [budget for budget in chosen if budget not in missed]
    lines = [f"IPC {', '.join(reached)}"] if reached else []
    if missed:
        lines.append(f"IPC {', '.join(missed)}:\ngoal not reached")
    return "\n".join(lines)
