"""Two sides that work by turns.

Each side is a process of its own, so that it has its own compiled code and its own peak memory.
"""

import multiprocessing
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Self

from .figures import figure, format_number, paired_ratios
from .machine import (
    matmul_rates,
    page_faults,
    peak_memory,
    reset_peak_memory,
    synchronised_time,
)

Result = dict[str, Any]
# Does an amount of work and returns `count`, the number of images (labels, steps), and more.
Turn = Callable[..., Result]
# Makes a turn in the process of its side, so it is picklable: a partial of a function.
MakeTurn = partial[Turn]
Benchmark = Callable[["Settings"], Result]
BENCHMARKS: dict[str, Benchmark] = {}
# The benchmarks that have no use for a GPU: they are measured as on a machine without one.
ON_CPU: set[str] = set()
# The most that `paced` multiplies the amount of work by at once.
_MAX_GROWTH = 10
_SECONDS_TO_END = 20


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of the command line. `options` are those of ddlabel beyond its defaults."""

    data: Path
    work: Path
    device: str
    rounds: int = 3
    seconds: float = 20
    epochs: int = 300
    num_images: int = 1000
    gigabytes: float = 2
    expert: str | None = None
    options: dict[str, str] = field(default_factory=dict)


def benchmark(name: str, *, on_cpu: bool = False) -> Callable[[Benchmark], Benchmark]:
    """Register a benchmark: a function that returns `figures` and what else is worth keeping."""

    def register(run: Benchmark) -> Benchmark:
        BENCHMARKS[name] = run
        if on_cpu:
            ON_CPU.add(name)
        return run

    return register


class Side:
    """A process that calls `make_turn` once, and then takes turns until it is closed.

    Each turn is printed, so that a benchmark that is stopped leaves some figures.
    """

    def __init__(self, device: str, make_turn: MakeTurn) -> None:
        self._name = make_turn.func.__name__
        context = multiprocessing.get_context("spawn")
        self._pipe, child_pipe = context.Pipe()
        self._process = context.Process(target=_serve, args=(child_pipe, device, make_turn))
        self._process.start()
        child_pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The process ends when its pipe is closed.
        self._pipe.close()
        self._process.join(_SECONDS_TO_END)
        if self._process.is_alive():
            self._process.terminate()

    def run(self, amount: int, **turn_options: Any) -> Result:
        """Take one turn.

        Returns:
            The result of the turn with its `amount`, `seconds`, `rate`, `page_faults` and
            `peak_memory_bytes`.

        Raises:
            RuntimeError: The process of the side failed.
        """
        self._pipe.send((amount, turn_options))
        result: Result = self._pipe.recv()
        if "error" in result:
            raise RuntimeError(f"a side failed:\n{result['error']}")
        seconds = result["seconds"]
        rate = result["count"] / seconds
        text = f"{amount} in {format_number(seconds)} s, {format_number(rate)} each second"
        print(f"    {self._name}: {text}", flush=True)
        return result | {"amount": amount, "rate": rate}

    def paced(self, amount: int, seconds: float) -> tuple[int, float]:
        """Find the amount of work that takes about so many seconds, beginning with `amount`.

        That amount was done once, so that code is compiled for its shapes.

        Returns:
            The amount, and by how many seconds the first turn took longer than the second.
        """
        first = self.run(amount)
        latest = self.run(amount)
        set_up_seconds = max(0.0, first["seconds"] - latest["seconds"])
        while latest["seconds"] < seconds / 4:
            growth = min(_MAX_GROWTH, 0.5 * seconds / latest["seconds"])
            amount = max(amount + 1, round(amount * growth))
            latest = self.run(amount)
        amount = max(1, round(amount * seconds / latest["seconds"]))
        self.run(amount)
        return amount, set_up_seconds


def _serve(pipe: Any, device: str, make_turn: MakeTurn) -> None:
    """Take turns in the process of a side, until the pipe is closed."""
    try:
        turn = make_turn()
        while True:
            amount, turn_options = pipe.recv()
            reset_peak_memory(device)
            faults_before = page_faults()
            started = synchronised_time(device)
            result = turn(amount, **turn_options)
            result["seconds"] = synchronised_time(device) - started
            result["page_faults"] = page_faults() - faults_before
            pipe.send(result | {"peak_memory_bytes": peak_memory(device)})
    except EOFError:
        pass
    except Exception:
        pipe.send({"error": traceback.format_exc()})


class _PacedSide:
    """A side with its amount of work for a round, and the results of its rounds."""

    def __init__(self, side: Side, start: int, seconds: float) -> None:
        self.side = side
        self.amount, self.set_up_seconds = side.paced(start, seconds)
        self.turns: list[Result] = []

    def run_round(self) -> None:
        """Take the turn of one round."""
        self.turns.append(self.side.run(self.amount))

    @property
    def rates(self) -> list[float]:
        """The rate in each round, per second."""
        return [turn["rate"] for turn in self.turns]

    @property
    def shown_rate(self) -> str:
        """The median rate as text."""
        return format_number(median(self.rates))

    def summary(self, matmul_rate_by_dtype: Mapping[str, float], flops: int | None) -> Result:
        """Return what is kept of the side; with `flops` for each unit of work, its FLOP/s too."""
        rate = median(self.rates)
        last = self.turns[-1]
        summary = {
            "rate": rate,
            "amount": last["amount"],
            "set_up_seconds": self.set_up_seconds,
            "peak_memory_bytes": last["peak_memory_bytes"],
            "page_faults": last["page_faults"],
            "rounds": [{"rate": turn["rate"], "seconds": turn["seconds"]} for turn in self.turns],
        }
        if flops is not None:
            shares = {}
            for dtype, matmul_rate in matmul_rate_by_dtype.items():
                shares[dtype] = rate * flops / matmul_rate
            summary |= {"flops_per_second": rate * flops, "share_of_matmul": shares}
        return summary


def compare_sides(
    key: str,
    settings: Settings,
    unit: str,
    *,
    reference: MakeTurn,
    ddlabel: MakeTurn,
    start: int = 1,
    expected: float = 1,
    flops: int | None = None,
    equal_work: Mapping[str, Any] | None = None,
) -> Result:
    """Run the reference and ddlabel by turns, and compare their rates round by round.

    Each side works for `settings.seconds` in a round. ddlabel begins with `expected` times the
    amount of the reference, so that it decides about compiling as for a long run. In the end both
    do the same amount, with the options `equal_work` of a turn.

    Args:
        key: The key of the figure.
        settings: The settings of the benchmark.
        unit: The unit of the rates, such as images/s.
        reference: Makes the turns of the reference.
        ddlabel: Makes the turns of ddlabel.
        start: The amount of work with which the reference begins.
        expected: The ratio that is expected.
        flops: Floating-point operations for each image (view, label).
        equal_work: Options of the turns that do the same amount.
    """
    seconds = settings.seconds
    rates_before = matmul_rates(settings.device)
    with (
        Side(settings.device, reference) as reference_side,
        Side(settings.device, ddlabel) as ddlabel_side,
    ):
        slow = _PacedSide(reference_side, start, seconds)
        fast = _PacedSide(ddlabel_side, round(slow.amount * expected), seconds)
        _run_rounds(slow, fast, settings.rounds)
        at_equal_work = _run_equal_work(slow, fast, equal_work or {})
    rates_after = matmul_rates(settings.device)
    mean_rates = {dtype: (rates_before[dtype] + rates_after[dtype]) / 2 for dtype in rates_before}
    ratio = paired_ratios(slow.rates, fast.rates)
    detail = f"{slow.shown_rate} → {fast.shown_rate} {unit}"
    return {
        "figures": {key: _ratio_figure(key, settings.device, ratio, detail)},
        "unit": unit,
        "ratio": ratio,
        "reference": slow.summary(mean_rates, flops),
        "ddlabel": fast.summary(mean_rates, flops),
        "flops_per_image": flops,
        "matmul_flops_per_second": {"before": rates_before, "after": rates_after},
        "at_equal_work": at_equal_work,
    }


def _ratio_figure(key: str, device: str, ratio: Mapping[str, Any], detail: str) -> Result:
    spread = ratio["low"], ratio["high"]
    return figure(key, device, ratio["median"], spread=spread, detail=detail)


def _run_rounds(first: _PacedSide, second: _PacedSide, rounds: int) -> None:
    """Run the rounds; the side that begins changes from round to round."""
    for number in range(rounds):
        order = (first, second) if number % 2 == 0 else (second, first)
        for side in order:
            side.run_round()


def _run_equal_work(slow: _PacedSide, fast: _PacedSide, turn_options: Mapping[str, Any]) -> Result:
    """Let both sides do the amount of work of the slower one."""
    return {
        "amount": slow.amount,
        "reference": slow.side.run(slow.amount, **turn_options),
        "ddlabel": fast.side.run(slow.amount, **turn_options),
    }


def describe_sides(result: Result) -> list[str]:
    """Return one line for each side with its rate, memory and share of the matmul rate."""
    lines = []
    for name in ("reference", "ddlabel"):
        side = result[name]
        megabytes = side["peak_memory_bytes"] / 1e6
        text = (
            f"  {name}: {format_number(side['rate'])} {result['unit']}, peak {megabytes:,.0f} MB, "
            f"first run {side['set_up_seconds']:.1f} s longer, {side['amount']} a round"
        )
        if "flops_per_second" in side:
            shares = []
            for dtype, share in side["share_of_matmul"].items():
                shares.append(f"{format_number(100 * share)} % of {dtype}")
            gigaflops = format_number(side["flops_per_second"] / 1e9)
            text += f"; {gigaflops} GFLOP/s: {', '.join(shares)} matmul"
        lines.append(text)
    return lines
