"""The goals of the figures (issue 5), in the order of the table, and the table itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

DEVICES = {"cpu": "CPU", "cuda": "GPU"}
_MARKS = {True: " ✓", False: " ✗", None: ""}
_VERDICTS = {True: "reached", False: "NOT reached", None: "no target"}


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One figure: the work that it measures, and its bound on the kinds of device that have one.

    The bound is the least value, or the largest one if `at_least` is false.
    """

    work: str
    unit: str = "×"
    at_least: bool = True
    cpu: float | None = None
    cuda: float | None = None

    def bound(self, device: str) -> float | None:
        """Return the bound on a kind of device, or None."""
        bounds = {"cpu": self.cpu, "cuda": self.cuda}
        return bounds[device]

    def bound_text(self, device: str) -> str:
        """Return the bound in words, or a dash."""
        bound = self.bound(device)
        if bound is None:
            return "–"
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {bound:g} {self.unit}"

    def is_reached(self, device: str, value: float) -> bool | None:
        """Return whether a value keeps to the bound, or None if there is no bound."""
        bound = self.bound(device)
        if bound is None:
            return None
        return value >= bound if self.at_least else value <= bound


def _at_most(work: str, unit: str, cpu: float | None = None, cuda: float | None = None) -> Goal:
    return Goal(work=work, unit=unit, at_least=False, cpu=cpu, cuda=cuda)


GOALS = {
    "evaluate": Goal(
        work="evaluate: five students, CIFAR-10 IPC 10, ConvNet-D3, DSA: images/s", cpu=6, cuda=50
    ),
    "evaluate-1000": _at_most("the five students of 1,000 epochs", "s", cuda=3),
    "evaluate-32": Goal(work="the same, width 32: images/s", cpu=5),
    "resnet": Goal(work="evaluate, ResNet18-modified, IPC 10: images/s", cpu=6, cuda=15),
    "share": Goal(
        work="ConvNet-D3 training: share of the measured matmul rate", unit="%", cpu=30, cuda=30
    ),
    "relabel": Goal(work="relabel, CIFAR-10, ConvNet-D3: images/s", cpu=6, cuda=30),
    "densify": Goal(work="densify, 128 px, ConvNet-D5, 25 views: views/s", cpu=8, cuda=30),
    "densify-memory": _at_most("densify: peak memory at 4 N above that at N", "%", cpu=5, cuda=5),
    "train-expert": Goal(work="train-expert, CIFAR-10 ConvNet-D3: images/s", cpu=5, cuda=20),
    "command-train-expert": Goal(work="whole command: `train-expert`, 2 epochs", cpu=5, cuda=20),
    "command-relabel": Goal(work="whole command: `relabel`, CIFAR-10 IPC 50"),
    "command-densify": Goal(work="whole command: `densify`, CIFAR-10 IPC 50, 25 views"),
    "command-evaluate": Goal(work="whole command: `evaluate`, five students, CIFAR-10 IPC 10"),
    "defaults": _at_most("any default against the best fixed choice: time", "×", 1.15, 1.15),
    "defaults-plain": Goal(work="any default against the plain loop", cpu=1, cuda=1),
    "beyond-memory": Goal(
        work="a student of a bundle 4 × the device's memory against one that fits",
        cpu=0.8,
        cuda=0.8,
    ),
    "refine": Goal(work="refine: labels/s"),
    "gift-time": _at_most("GIFT above KL: time of a step", "%", 2, 2),
    "gift-memory": _at_most("GIFT above KL: peak memory", "%", 2, 2),
    "cosine-time": _at_most("cosine loss on refined labels above KL: time of a step", "%", 2, 2),
    "cosine-memory": _at_most("cosine loss on refined labels above KL: peak memory", "%", 2, 2),
    "bundle-open": _at_most("bundle of 2 GB: open and read the header", "s", 0.3),
    "bundle-read": Goal(work="bundle: verified read against raw sha256", cpu=0.7),
    "bundle-write": Goal(work="bundle: write against a copy to a new file", cpu=0.7),
    "help": _at_most("`ddlabel --help`", "s", 0.35),
    "list": _at_most("`ddlabel list losses`", "s"),
    "info": _at_most("`ddlabel info FILE`", "s", 0.4),
    "accuracy-10-hard": Goal(
        work="accuracy, CIFAR-10 IPC 10, hard labels: inside the reference's interval"
    ),
    "accuracy-10-soft": Goal(work="accuracy, IPC 10, soft labels"),
    "accuracy-50-hard": Goal(work="accuracy, IPC 50, hard labels"),
    "accuracy-50-soft": Goal(work="accuracy, IPC 50, soft labels"),
}


def paired_ratios(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """Return the ratios second/first of paired rounds, with their median and range."""
    ratios = [b / a for a, b in zip(first, second, strict=True)]
    return {"median": median(ratios), "low": min(ratios), "high": max(ratios), "rounds": ratios}


def figure(
    key: str,
    device: str,
    value: float,
    *,
    spread: tuple[float, float] | None = None,
    detail: str = "",
) -> dict[str, Any]:
    """Return a measured figure: its value, whether it reaches its goal, and its text in the table.

    `spread` is the range over the rounds. `detail` is added to the text.
    """
    goal = GOALS[key]
    text = f"{format_number(value)} {goal.unit}"
    if spread is not None:
        low, high = spread
        if low < high:
            text += f" ({format_number(low)} … {format_number(high)})"
    if detail:
        text += f", {detail}"
    return {"value": value, "reached": goal.is_reached(device, value), "text": text}


def format_number(value: float) -> str:
    """Format a number with three digits, but with all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def figure_line(key: str, device: str, measured: Mapping[str, Any]) -> str:
    """Return a measured figure and its goal as one line."""
    goal = GOALS[key]
    verdict = _VERDICTS[measured["reached"]]
    return f"{goal.work}: {measured['text']}; wanted {goal.bound_text(device)}: {verdict}"


def results_table(results: Mapping[str, Any]) -> str:
    """Return the table of the README, with two columns for each kind of device.

    `results` has what was measured by device: `{"cpu": {"machine": …, NAME: …}, "cuda": …}`.
    """
    columns = ["work"]
    for device_name in DEVICES.values():
        columns += [f"wanted, {device_name}", device_name]
    lines = [_row(columns), "|---" * len(columns) + "|"]
    figures = {device: _figures_of(results.get(device, {})) for device in DEVICES}
    for key, goal in GOALS.items():
        cells = [goal.work]
        for device in DEVICES:
            cells += [goal.bound_text(device), _result_text(figures[device].get(key))]
        lines.append(_row(cells))
    lines.append("")
    for device, device_name in DEVICES.items():
        if device in results:
            lines.append(f"{device_name}: {describe_machine(results[device]['machine'])}.")
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figures_of(of_device: Mapping[str, Any]) -> dict[str, Any]:
    """Return all figures that were measured on a device, by key."""
    figures: dict[str, Any] = {}
    for result in of_device.values():
        figures |= result.get("figures", {})
    return figures


def _result_text(measured: Mapping[str, Any] | None) -> str:
    if measured is None:
        return "not measured"
    return f"{measured['text']}{_MARKS[measured['reached']]}"


def describe_machine(info: Mapping[str, Any]) -> str:
    """Describe a machine in one line, see `machine_info`."""
    rates = []
    for dtype, rate in info["matmul_flops_per_second"].items():
        rates.append(f"{dtype} {format_number(rate / 1e9)}")
    parts = [info["gpu"]] if info["gpu"] else []
    parts += [
        info["cpu"],
        f"{info['cores']} cores",
        f"{info['threads']} threads",
        info["capability"],
        f"torch {info['torch']}",
    ]
    return f"{', '.join(parts)}; matmul GFLOP/s: {', '.join(rates)}"
