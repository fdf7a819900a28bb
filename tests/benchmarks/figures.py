"""What the figures have to reach (issue 5), in the order of the table, and the table itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

DEVICES = {"cpu": "CPU", "cuda": "GPU"}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One figure: what it measures, and its bound on each kind of device where it has one."""

    what: str
    unit: str = "×"
    at_least: bool = True
    cpu: float | None = None
    cuda: float | None = None

    def bound(self, device: str) -> str:
        """The bound in words, or a dash."""
        value = getattr(self, device)
        return "–" if value is None else f"{'≥' if self.at_least else '≤'} {value:g} {self.unit}"

    def reached(self, device: str, value: float) -> bool | None:
        """Whether a value keeps to the bound; None where there is none."""
        wanted = getattr(self, device)
        return None if wanted is None else (value >= wanted if self.at_least else value <= wanted)


def _at_most(what: str, unit: str, cpu: float | None = None, cuda: float | None = None) -> Wanted:
    return Wanted(what=what, unit=unit, at_least=False, cpu=cpu, cuda=cuda)


WANTED = {
    "evaluate": Wanted(
        what="evaluate: five students, CIFAR-10 IPC 10, ConvNet-D3, DSA: images/s", cpu=6, cuda=50
    ),
    "evaluate-1000": _at_most("the five students of 1,000 epochs", "s", cuda=3),
    "resnet": Wanted(what="evaluate, ResNet18-modified, IPC 10: images/s", cpu=4, cuda=15),
    "share": Wanted(
        what="ConvNet-D3 training: share of the measured matmul rate", unit="%", cpu=45, cuda=30
    ),
    "relabel": Wanted(what="relabel, CIFAR-10, ConvNet-D3: images/s"),
    "densify": Wanted(what="densify, 128 px, ConvNet-D5, 25 views: views/s", cpu=6, cuda=30),
    "densify-memory": _at_most("densify: peak memory at 4 N above that at N", "%", cpu=5, cuda=5),
    "train-expert": Wanted(what="train-expert, CIFAR-10 ConvNet-D3: images/s", cpu=5, cuda=20),
    "refine": Wanted(what="refine: labels/s"),
    "gift-time": _at_most("GIFT above KL: time of a step", "%", 2, 2),
    "gift-memory": _at_most("GIFT above KL: peak memory", "%", 2, 2),
    "cosine-time": _at_most("cosine loss on refined labels above KL: time of a step", "%", 2, 2),
    "cosine-memory": _at_most("cosine loss on refined labels above KL: peak memory", "%", 2, 2),
    "bundle-open": _at_most("bundle of 2 GB: open and read the header", "s", 0.3),
    "bundle-read": Wanted(what="bundle: verified read against raw sha256", cpu=0.7),
    "bundle-write": Wanted(what="bundle: write against a file copy", cpu=0.7),
    "help": _at_most("`ddlabel --help`", "s", 0.35),
    "list": _at_most("`ddlabel list losses`", "s"),
    "info": _at_most("`ddlabel info FILE`", "s", 0.4),
    "accuracy-10-hard": Wanted(
        what="accuracy, CIFAR-10 IPC 10, hard labels: inside the reference's interval"
    ),
    "accuracy-10-soft": Wanted(what="accuracy, IPC 10, soft labels"),
    "accuracy-50-hard": Wanted(what="accuracy, IPC 50, hard labels"),
    "accuracy-50-soft": Wanted(what="accuracy, IPC 50, soft labels"),
}


def paired(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """The ratios second/first of the rounds: their median and range."""
    each = [b / a for a, b in zip(first, second, strict=True)]
    return {"median": median(each), "low": min(each), "high": max(each), "rounds": each}


def figure(
    key: str,
    device: str,
    value: float,
    *,
    spread: tuple[float, float] | None = None,
    also: str = "",
) -> dict:
    """A measured figure beside its bound, and as a cell of the table; `spread` is the range over the rounds."""
    wanted = WANTED[key]
    text = f"{number(value)} {wanted.unit}"
    if spread is not None and spread[0] < spread[1]:
        text += f" ({number(spread[0])} … {number(spread[1])})"
    return {
        "value": value,
        "reached": wanted.reached(device, value),
        "text": f"{text}{also and f', {also}'}",
    }


def number(value: float) -> str:
    """Three digits, but all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def line(key: str, device: str, found: dict[str, Any]) -> str:
    """A figure in one line, its target next to it."""
    wanted, reached = (
        WANTED[key],
        {True: "reached", False: "NOT reached", None: "no target"}[found["reached"]],
    )
    return f"{wanted.what}: {found['text']}; wanted {wanted.bound(device)}: {reached}"


def table(results: dict[str, Any]) -> str:
    """The README's table: a column for each kind of device, from `{"cpu": {"machine": …, NAME: …}, "cuda": …}`."""
    lines = [
        "| work | " + " | ".join(f"wanted, {name} | {name}" for name in DEVICES.values()) + " |",
        "|---" * (1 + 2 * len(DEVICES)) + "|",
    ]
    for key, wanted in WANTED.items():
        cells = [wanted.what]
        for device in DEVICES:
            found = _figures(results.get(device, {})).get(key)
            mark = "" if found is None else {True: " ✓", False: " ✗", None: ""}[found["reached"]]
            cells += [
                wanted.bound(device),
                "not measured" if found is None else found["text"] + mark,
            ]
        lines.append(f"| {' | '.join(cells)} |")
    named = [
        f"{name}: {describe(results[key]['machine'])}"
        for key, name in DEVICES.items()
        if key in results
    ]
    return "\n".join([*lines, "", *(f"{each}." for each in named)])


def _figures(of_device: dict[str, Any]) -> dict[str, Any]:
    return {
        key: found for part in of_device.values() for key, found in part.get("figures", {}).items()
    }


def describe(machine: dict[str, Any]) -> str:
    """The machine in a line."""
    rates = ", ".join(
        f"{name} {number(rate / 1e9)}" for name, rate in machine["matmul_flops_per_second"].items()
    )
    gpu = f"{machine['gpu']}, " if machine["gpu"] else ""
    cpu = f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, {machine['capability']}"
    return f"{gpu}{cpu}, torch {machine['torch']}; matmul GFLOP/s: {rates}"
