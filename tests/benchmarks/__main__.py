"""Run benchmarks by name, or print the table of their results: `table results.json`."""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from . import (  # noqa: F401 - importing registers benchmarks
    defaults,
    experts,
    labels,
    programs,
    storage,
    students,
    variants,
)
from .figures import describe_machine, figure_line, results_table
from .harness import BENCHMARKS, ON_CPU, Settings, describe_sides
from .machine import machine_info

# Benchmarks that take hours, or that only a GPU has a use for: they run only by name.
_BY_NAME = ("accuracy-", variants.PREFIX)


def main() -> None:
    """Run the benchmarks that the command line names, or print the table of their results."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.name == "table":
        if not arguments.results:
            parser.error("table needs the file of the results: table results.json")
        print(results_table(_read_all(arguments.results)))
        return
    settings = _settings_of(arguments, parser)
    out: Path | None = arguments.out
    results: dict[str, Any] = {}
    if out is not None and out.exists():
        results = json.loads(out.read_text())
    for name in _benchmark_names(arguments.name):
        _run_benchmark(name, settings, results)
        if out is not None:
            out.write_text(json.dumps(results, indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add = parser.add_argument
    names = (*BENCHMARKS, "all", "table")
    add("name", choices=names, help="all runs every benchmark but accuracy-* and variant-*")
    add("results", nargs="*", type=Path, help="for table: files of --out, one for each machine")
    data = Path("../shared/data")
    add("--data", type=Path, default=data, help="folder of cifar10.zip and imagenette128.zip")
    work = Path(tempfile.gettempdir()) / "ddlabel-benchmarks"
    add("--work", type=Path, default=work, help="folder that keeps the inputs of the benchmarks")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=20, help="seconds that each side works in a round")
    add("--out", type=Path, help="JSON file to which the results are added")
    add("--epochs", type=int, default=300, help="accuracy: epochs of the students at IPC 10")
    add("--expert", help="accuracy: run, or RUN@EPOCH, for soft labels")
    images_help = "densify: N of the peak memory at N and 4 N images"
    add("--images", dest="num_images", type=int, default=1000, help=images_help)
    add("--gigabytes", type=float, default=2, help="bundle: size of the file")
    set_help = "option for ddlabel, also several times"
    add("--set", action="append", default=[], metavar="OPTION=VALUE", help=set_help)
    return parser


def _settings_of(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> Settings:
    """Return the settings of a parsed command line; exit if there is no such device."""
    has_cuda = torch.cuda.is_available()
    device = arguments.device
    if device == "auto":
        device = "cuda" if has_cuda else "cpu"
    if device == "cuda" and not has_cuda:
        parser.error("--device is cuda and there is no CUDA device here: give cpu")
    options = {}
    for text in arguments.set:
        name, _, value = text.partition("=")
        options[name.replace("-", "_")] = value
    return Settings(
        data=arguments.data,
        work=arguments.work,
        device=device,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        epochs=arguments.epochs,
        num_images=arguments.num_images,
        gigabytes=arguments.gigabytes,
        expert=arguments.expert,
        options=options,
    )


def _benchmark_names(name: str) -> list[str]:
    """Return the benchmarks that a name on the command line stands for."""
    if name == "all":
        return [known for known in BENCHMARKS if not known.startswith(_BY_NAME)]
    return [name]


def _read_all(paths: list[Path]) -> dict[str, Any]:
    """Read the results of several files, by device; the last file of a device counts."""
    results: dict[str, Any] = {}
    for path in paths:
        results |= json.loads(path.read_text())
    return results


def _run_benchmark(name: str, settings: Settings, results: dict[str, Any]) -> None:
    """Run a benchmark, add its result to those of its device, and print it."""
    if name in ON_CPU:
        settings = replace(settings, device="cpu")
    result = BENCHMARKS[name](settings)
    if settings.options:
        result["given"] = settings.options
    of_device = results.setdefault(settings.device, {})
    of_device["machine"] = machine_info(settings.device)
    of_device[name] = result
    print(f"{name} on {settings.device}: {describe_machine(of_device['machine'])}")
    for key, measured in result["figures"].items():
        print(f"  {figure_line(key, settings.device, measured)}")
    if "reference" in result:
        print("\n".join(describe_sides(result)), flush=True)


if __name__ == "__main__":
    main()
