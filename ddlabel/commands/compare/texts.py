"""Rows and pairs of a comparison in words."""

from collections.abc import Sequence

from ddlabel.commands.compare.rows import NO_EFFECT, Pair, Row, flag_name
from ddlabel.methods.intervals import Comparison, Summary

# What stands in the place of a figure that is not there.
MISSING = "–"
_FEWEST_SEEDS = 3
_SIGNIFICANT_DIGITS = 2


def row_text(row: Row) -> str:
    """Return the accuracy of a row in words."""
    accuracy = row.accuracy
    remarks = [students_text(accuracy)]
    if row.num_diverged:
        remarks.append(f"{row.num_diverged} diverged")
    return f"{accuracy.mean:.2f} %{accuracy.spread()} ({', '.join(remarks)})"


def students_text(accuracy: Summary) -> str:
    """Return what the figure behind a mean is, if there is one, and the number of students."""
    if accuracy.n == 1:
        return "1 student"
    if accuracy.interval is None:
        return f"{accuracy.n} students, all equal"
    return f"95 % interval, {accuracy.n} students"


def pairs_text(difference: Summary) -> str:
    """Return the number of pairs of a difference that has no interval and no p-value."""
    return "1 pair" if difference.n == 1 else f"{difference.n} pairs, all equal"


def pair_text(pair: Pair) -> str:
    """Return the difference of a pair in words."""
    comparison = pair.comparison
    if comparison is None:
        return "no seed in common"
    difference = comparison.difference
    text = f"{difference.mean:+.2f}{difference.spread()} points"
    if comparison.p_value is None:
        return f"{text} ({pairs_text(difference)})"
    return f"{text}, p = {_p_text(comparison)} (paired t-test, {difference.n} pairs)"


def pair_names(pair: Pair) -> tuple[str, str, str]:
    """Return what tells the first row of a pair, what tells the second, and what they share."""
    first, second = pair.first.place, pair.second.place
    differing = [name for name in first if first[name] != second[name]]
    shared = [
        f"{flag_name(name)}={value}"
        for name, value in first.items()
        if name not in differing and value != NO_EFFECT
    ]
    return (
        " ".join(first[name] for name in differing),
        " ".join(second[name] for name in differing),
        " ".join(shared) or MISSING,
    )


def comparison_cells(comparison: Comparison | None) -> list[str]:
    """Return the cells of a comparison: difference, 95 % interval, p-value, number of pairs."""
    if comparison is None:
        return [MISSING, MISSING, MISSING, "0"]
    difference = comparison.difference
    interval = MISSING if difference.interval is None else f"± {difference.interval:.2f}"
    return [f"{difference.mean:+.2f}", interval, _p_text(comparison), str(difference.n)]


def _p_text(comparison: Comparison) -> str:
    p_value = comparison.p_value
    return MISSING if p_value is None else f"{p_value:.{_SIGNIFICANT_DIGITS}g}"


def figure_text(row: Row, figure: str) -> str:
    """Return mean ± interval of a figure of a row, with a mark if students diverged."""
    if figure not in row.figures:
        return MISSING
    summary = row.summary(figure)
    mark = " *" if row.num_diverged else ""
    return f"{summary.mean:.2f}{summary.spread()}{mark}"


def few_students_note(numbers: Sequence[int]) -> str | None:
    """Return the advice to train more students where rows have one or two; None otherwise."""
    fewest = min(numbers, default=_FEWEST_SEEDS)
    if fewest >= _FEWEST_SEEDS:
        return None
    more = "train more: evaluate --seeds 5 keeps those that are in --out"
    if fewest == 1:
        return f"1 student has no interval: {more}"
    return f"the interval of 2 students is ± 12.7 standard errors: {more}"
