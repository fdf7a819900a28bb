"""Two sides that take turns: each is a process of its own, with its own compiled code and its own peak of memory."""

import multiprocessing
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Self

from .figures import figure, number, paired
from .machine import forget_peak, matmul_rates, peak_memory, synchronised

Result = dict[str, Any]
# Does an amount of work; `count` of what it gives is how many images (labels, steps) that was.
Turn = Callable[..., Result]
Benchmark = Callable[["Settings"], Result]
BENCHMARKS: dict[str, Benchmark] = {}
# What has no use for a GPU: measured as on a machine without one.
ON_CPU: set[str] = set()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The command's options."""

    data: Path
    work: Path
    device: str
    rounds: int = 3
    seconds: float = 20
    epochs: int = 300
    images: int = 1000
    gigabytes: float = 2
    expert: str | None = None
    # Options for ddlabel's side beyond its defaults.
    given: dict[str, str] = field(default_factory=dict)


def benchmark(name: str, *, on_cpu: bool = False) -> Callable[[Benchmark], Benchmark]:
    """Register what measures NAME: it returns `figures` and what else is worth keeping."""

    def register(run: Benchmark) -> Benchmark:
        BENCHMARKS[name] = run
        ON_CPU.update([name] if on_cpu else [])
        return run

    return register


class Side:
    """A process in which `make(*args)` has made a turn; it stays alive between turns."""

    def __init__(self, device: str, make: Callable[..., Turn], *args: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, device, make, args))
        self._process.start()
        other.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()  # its process ends at that
        self._process.join(20)
        if self._process.is_alive():
            self._process.terminate()

    def run(self, amount: int, **how: Any) -> Result:
        """One turn: what it gives, its `seconds`, its `rate` and its peak of memory."""
        self._pipe.send((amount, how))
        done: Result = self._pipe.recv()
        if "error" in done:
            raise RuntimeError(f"a side failed:\n{done['error']}")
        return done | {"amount": amount, "rate": done["count"] / done["seconds"]}

    def paced(self, amount: int, seconds: float) -> tuple[int, float]:
        """The amount of work of about so many seconds, and the seconds of the first run beyond a later one.

        That amount was done once, so that what is compiled for its shapes is there.
        """
        first = self.run(amount)
        done = self.run(amount)
        set_up = max(0.0, first["seconds"] - done["seconds"])
        while done["seconds"] < seconds / 4:
            done = self.run(
                max(amount + 1, round(amount * min(10, 0.5 * seconds / done["seconds"])))
            )
            amount = done["amount"]
        amount = max(1, round(amount * seconds / done["seconds"]))
        self.run(amount)
        return amount, set_up


def _serve(pipe: Any, device: str, make: Callable[..., Turn], args: tuple[Any, ...]) -> None:
    try:
        turn = make(*args)
        while True:
            amount, how = pipe.recv()
            forget_peak(device)
            started = synchronised(device)
            done = turn(amount, **how)
            done["seconds"] = synchronised(device) - started
            pipe.send(done | {"peak_memory_bytes": peak_memory(device)})
    except EOFError:
        pass
    except Exception:
        pipe.send({"error": traceback.format_exc()})


def versus(
    key: str,
    settings: Settings,
    unit: str,
    reference: tuple[Any, ...],
    ddlabel: tuple[Any, ...],
    *,
    start: int = 1,
    expected: float = 1,
    flops: int | None = None,
    **equal: Any,
) -> Result:
    """Reference and ddlabel, each `(make, *args)`, in turns: rates, their ratio round by round, FLOP/s and memory.

    Each side works for `settings.seconds` a round. ddlabel begins with `expected` times the reference's amount, so
    that what it decides by the work ahead is decided as for a long run. Both then do the same amount, with `equal`.
    """
    device, before = settings.device, matmul_rates(settings.device)
    with Side(device, *reference) as plain, Side(device, *ddlabel) as fast:
        amount, set_up = plain.paced(start, settings.seconds)
        more, fast_set_up = fast.paced(round(amount * expected), settings.seconds)
        rounds: tuple[list[Result], list[Result]] = [], []
        for done in range(settings.rounds):
            for side in (0, 1) if done % 2 == 0 else (1, 0):
                rounds[side].append((plain, fast)[side].run((amount, more)[side]))
        last = [side.run(amount, **equal) for side in (plain, fast)]
    after = matmul_rates(device)
    rates = {name: (before[name] + after[name]) / 2 for name in before}
    names, set_ups = ("reference", "ddlabel"), (set_up, fast_set_up)
    sides = {
        n: _side(chunks_for_rank, rates, flops, s)
        for n, chunks_for_rank, s in zip(names, rounds, set_ups, strict=True)
    }
    ratio = paired(*([turn["rate"] for turn in chunks_for_rank] for chunks_for_rank in rounds))
    also = " → ".join(number(side["rate"]) for side in sides.values()) + f" {unit}"
    found = figure(key, device, ratio["median"], spread=(ratio["low"], ratio["high"]), also=also)
    return {
        "figures": {key: found},
        "unit": unit,
        "ratio": ratio,
        **sides,
        "flops_per_image": flops,
        "matmul_flops_per_second": {"before": before, "after": after},
        "at_equal_work": {"amount": amount} | dict(zip(names, last, strict=True)),
    }


def _side(
    chunks_for_rank: list[Result], rates: dict[str, float], flops: int | None, set_up: float
) -> Result:
    rate = median(turn["rate"] for turn in chunks_for_rank)
    side = {
        "rate": rate,
        "amount": chunks_for_rank[-1]["amount"],
        "set_up_seconds": set_up,
        "peak_memory_bytes": chunks_for_rank[-1]["peak_memory_bytes"],
        "rounds": [{"rate": turn["rate"], "seconds": turn["seconds"]} for turn in chunks_for_rank],
    }
    if flops is not None:
        shares = {name: rate * flops / there for name, there in rates.items()}
        side |= {"flops_per_second": rate * flops, "share_of_matmul": shares}
    return side


def say_sides(result: Result) -> list[str]:
    """What the figures leave out, for people: rate, memory and share of each side."""
    lines = []
    for name in ("reference", "ddlabel"):
        side = result[name]
        text = f"  {name}: {number(side['rate'])} {result['unit']}, peak {side['peak_memory_bytes'] / 1e6:,.0f} MB"
        text += f", first run {side['set_up_seconds']:.1f} s longer, {side['amount']} a round"
        if "flops_per_second" in side:
            shares = ", ".join(
                f"{number(100 * share)} % of {dtype}"
                for dtype, share in side["share_of_matmul"].items()
            )
            text += f"; {number(side['flops_per_second'] / 1e9)} GFLOP/s: {shares} matmul"
        lines.append(text)
    return lines
