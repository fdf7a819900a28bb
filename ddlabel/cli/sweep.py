"""`sweep`: one command over a grid of its options, cell by cell or side by side on Ray."""

import contextlib
import functools
import itertools
import os
import signal
import socket
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.markup import escape
from rich.table import Table

from ddlabel import __version__
from ddlabel.cli.evaluate import cases_of, check_results, finished
from ddlabel.cli.make import runs_of
from ddlabel.cli.old_command import Reporter, bound, command, listed, printable
from ddlabel.core.config import SweepOptions
from ddlabel.core.errors import (
    DDLabelError,
    InvalidInputError,
    ResourceError,
    SweepError,
    UsageError,
)
from ddlabel.data import atomic, formats
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.provenance import canonical_json, sha256_of_path, sha256_of_text
from ddlabel.data.reading import STANDARD, reading

Grid = Annotated[
    Path, typer.Argument(metavar="GRID", help="TOML file: command, [options] and, as lists, [axes]")
]
Values = dict[str, Any]
# Options that change how the work is done and not what comes out: only as axes they make other cells.
_HOW = ("force", "device", "compile", "stack")


class Cell(NamedTuple):
    """A combination: the command and its values, where in the grid it stands, what it makes, a key for its outcome."""

    given: Values
    place: str
    out: Path | None
    key: str


@command("sweep", SweepOptions)
def sweep(grid: Grid, options: SweepOptions, reporter: Reporter) -> None:
    """Run a command over a grid of its options, given in a TOML file; a rerun runs the cells that are missing."""
    part, _, of = options.shard.partition("/")
    if not (part.isdecimal() and of.isdecimal() and 1 <= int(part) <= int(of)):
        raise UsageError(
            f"--shard is {options.shard!r}: expected I/N with I from 1 to N, such as 2/8"
        )
    check_results(Path(options.out))
    cells = _cells(grid)[int(part) - 1 :: int(of)]
    done = finished(options.out, reporter, lambda record: (record["key"], record["cell"]))
    missing = [
        cell
        for cell in cells
        if cell.key not in done or not (cell.out is None or cell.out.exists())
    ]
    reporter.note(f"{len(cells) - len(missing)} of {len(cells)} cells are in {options.out} already")
    if options.plan:
        _plan(missing, reporter)
        return
    every, failed = [cell.given for cell in missing], 0
    outcomes = _on_ray(every, options) if options.ray and every else enumerate(map(_outcome, every))
    for count, (number, found) in enumerate(outcomes, 1):
        cell, where = missing[number], f"cell {count} of {len(missing)}: {missing[number].place}"
        if "error" in found:
            failed += 1
            replace(reporter, quiet=False).note(f"{where} failed: {found['error']}")
        else:
            atomic.append_line(
                Path(options.out), canonical_json({"cell": cell.given, "key": cell.key} | found)
            )
            reporter.note(f"{where} ({found['seconds']:.1f} s)")
    reporter.data(
        options.out,
        {"out": options.out, "cells": len(cells), "ran": len(missing), "failed": failed},
    )
    if failed:
        raise SweepError(
            f"{failed} of {len(missing)} cells failed: mend what they say, and the same command tries them again"
        )


def _cells(grid: Path) -> list[Cell]:
    """The cells of a grid, those of one key once, the last axis changing fastest; UsageError if one cannot be run."""
    with reading(grid, "cannot be read as a grid in TOML"):
        content = {"options": {}, "axes": {}} | tomllib.loads(grid.read_text(encoding="utf-8"))
        fixed, axes = (
            {k.replace("-", "_"): v for k, v in content.pop(name).items()}
            for name in ("options", "axes")
        )
    lists = all(isinstance(values, list) and values for values in axes.values())
    named = content.keys() == {"command"} and content["command"] not in ("sweep", "demo")
    if not (lists and named) or axes.keys() & (fixed | content):
        expected = "command, any but sweep and demo; [options]; and [axes], each a list of values and no option too"
        raise UsageError(f"{grid}: expected {expected}")
    digest, cells, owners = functools.cache(_content), dict[str, Cell](), dict[Path, str]()
    for choice in itertools.product(*axes.values()):
        cell = _cell(fixed | content, dict(zip(axes, choice, strict=True)), digest)
        cells.setdefault(cell.key, cell)
        if cell.out is not None and owners.setdefault(cell.out.resolve(), cell.key) != cell.key:
            raise UsageError(
                f"{grid}: several cells would write {cell.out}: name the axes in it, as {{NAME}}"
            )
    return list(cells.values())


def _cell(fixed: Values, axes: Values, digest: Callable[[str], str]) -> Cell:
    """A cell, checked as the command line would be, with the placeholders of `out` filled in."""
    given = fixed | axes
    words = {key: "+".join(map(str, listed(value))) for key, value in given.items()}
    if "out" in given:
        try:
            given["out"] = words["out"].format_map(
                {key: word.replace("/", "-") for key, word in words.items()}
            )
        except (LookupError, ValueError, AttributeError):
            raise UsageError(
                f"out is {words['out']!r}: expected in braces only {', '.join(words)}"
            ) from None
    if any(STANDARD in listed(value) for value in given.values()):
        raise UsageError("cells have no standard input and output: name files in place of -")
    out = bound(**given).keywords.get("out")
    known = [key for key in given if key in axes or key not in _HOW]
    named = {
        key: [v if key == "out" else digest(str(v)) for v in listed(given[key])] for key in known
    }
    key = sha256_of_text(canonical_json([__version__, named]))
    return Cell(given, " ".join(f"{key}={words[key]}" for key in axes), out and Path(out), key)


def _content(name: str) -> str:
    """The digest of the file, the folder or the expert run of a name; the name where there is none."""
    with contextlib.suppress(
        DDLabelError, OSError
    ):  # of a damaged file: the command will say what is wrong
        if Path(name).suffix.lower() in formats.FORMATS:
            return formats.read_header(name).digest
        with contextlib.suppress(InvalidInputError):
            return canonical_json(
                [[run.epoch, asdict(run.about), run.metrics()] for run in ExpertRun.find(name)]
            )
        return sha256_of_path(Path(name)) if Path(name).exists() else name
    return name


def _outcome(given: Values, folder: str = ".") -> Values:
    """What a cell gave: `result`, a list if the command says several things, and `seconds`; or `error` in one line."""
    from ddlabel.cli import app  # noqa: F401 - has all commands, in a process of Ray's too

    said, started = list[Any](), time.perf_counter()
    try:
        with contextlib.chdir(folder):
            bound(**given)(reporter=Reporter(kept=said))
        canonical_json([given, said])  # what cannot be recorded has failed
    except Exception as error:
        kind = "" if isinstance(error, DDLabelError) else f"{type(error).__name__}: "
        return {
            "error": f"{kind}{error}".partition("\n")[0].replace(
                "with --force", "with force = true in [options]"
            )
        }
    return {"result": said[0] if len(said) == 1 else said, "seconds": time.perf_counter() - started}


def _on_ray(cells: Sequence[Values], options: SweepOptions) -> Iterator[tuple[int, Values]]:
    """The outcome of every cell by its number, as they finish.

    UsageError without Ray, ResourceError if it does not answer within seconds, or has no room for a cell.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise UsageError("--ray needs Ray: pip install 'ddlabel[ray]'") from None
    address, running = (
        options.ray_address,
        Path("/tmp/ray/ray_current_cluster"),
    )  # where Ray notes it
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or (
            running.read_text() if running.exists() else address
        )
    cpus, gpus, on_stop = (
        options.cpus_per_cell,
        options.gpus_per_cell,
        signal.getsignal(signal.SIGTERM),
    )
    how: Values = {"runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(cpus)}}}
    how |= (
        {"include_dashboard": False, "object_store_memory": 1 << 27} if address == "local" else {}
    )
    try:
        _greet(address)
        ray.init(address, log_to_driver=False, logging_level="ERROR", **how)
        signal.signal(signal.SIGTERM, on_stop)  # Ray puts its own there
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
            raise ValueError(f"no machine there has {cpus} CPUs and {gpus:g} GPUs for a cell")
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_outcome)
        waiting = {
            remote.remote(given, str(Path.cwd())): number for number, given in enumerate(cells)
        }
        while waiting:
            (done,), _ = ray.wait([*waiting], num_returns=1)
            try:
                found = ray.get(done)
            except ray.exceptions.RayError as error:  # its process was killed, say
                found = {"error": f"{type(error).__name__}: {error}".partition("\n")[0]}
            yield waiting.pop(done), found
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        raise ResourceError(
            f"--ray: {address}: {str(error).splitlines()[0]}; is 'ray start --head' there?"
        ) from error
    finally:
        ray.shutdown()


def _greet(address: str) -> None:
    """Raise OSError or ValueError unless an address is `local` or `auto`, or Ray answers: it would wait for minutes."""
    if address not in ("local", "auto"):
        host, _, port = address.removeprefix("ray://").rpartition(":")
        with socket.create_connection((host, port), timeout=10) as line:
            # What a client of HTTP/2, which Ray speaks, begins with, and an empty frame of settings.
            line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
            if line.recv(9)[3:4] != b"\4":  # a frame of settings
                raise ValueError("what answers is not Ray: expected HOST:PORT of a Ray that runs")


def _plan(cells: Sequence[Cell], reporter: Reporter) -> None:
    """Show what the cells will cost."""
    from ddlabel.training.cost import EXPECTED_UTILISATION, matmul_rate
    from ddlabel.training.runtime import pick_device

    table, rows = Table("cell", "GFLOP", "seconds", title="cells to run"), list[Values]()
    for cell in cells:
        flops = _flops(cell.given)
        seconds = (
            flops
            and flops
            / matmul_rate(pick_device(cell.given.get("device", "auto")))
            / EXPECTED_UTILISATION
        )
        rows.append({"cell": cell.given, "key": cell.key, "flops": flops, "seconds": seconds})
        table.add_row(
            escape(printable(cell.place)), _figure(flops and flops / 1e9), _figure(seconds)
        )
    reporter.show(table)
    total = (
        None if any(row["seconds"] is None for row in rows) else sum(row["seconds"] for row in rows)
    )
    how = f"an estimate: one after another, at {EXPECTED_UTILISATION:g} of the float32 matrix rate; tiny networks take longer"
    reporter.data(
        f"{len(cells)} cells to run, {_figure(total)} seconds ({how})",
        {"cells": rows, "seconds": total},
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value >= 10 else f"{value:.2g}"


def _flops(given: Values) -> int | None:
    """The floating-point operations of a cell; None where they are not known before it runs."""
    from ddlabel.commands.evaluate.experiment import training_flops
    from ddlabel.commands.train_expert import plan
    from ddlabel.methods.labels.views import layouts
    from ddlabel.training.labeler import network_flops

    name, values, quiet = given["command"], bound(**given).keywords, Reporter(kept=[])
    options: Any = values.get("options")
    if name == "evaluate" and options[0].continual is None and options[0].select != "val":
        own, others, controls = cases_of(options, quiet)
        cases = itertools.chain(own, others, *controls)
        return sum(training_flops(case, case.bundle(seed)) for case in cases for seed in case.seeds)
    if name == "train-expert":
        real, header = formats.load(values["real"], verify=False)
        abouts = [about for _, about in plan(real, Path(values["out"]), options, header.digest)]
        return sum(
            network_flops(about, backward=True) * len(real) * int(options.epochs)
            for about in abouts
        )
    if name in ("relabel", "densify") and options.real is None:
        images, _, *size = formats.read_header(values["bundle"]).arrays["images"].shape
        views = layouts.resolve(options.views)(1, *size, 0).num_views if name == "densify" else 1
        experts = runs_of(values["expert"], quiet)
        return sum(network_flops(run.about, backward=False) for run in experts) * images * views
    return None
