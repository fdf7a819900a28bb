"""The command: `python -m tests.benchmarks NAME`, and `python -m tests.benchmarks table results.json`."""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from . import experts, labels, storage, students  # noqa: F401 - they register what they measure
from .figures import describe, line, table
from .harness import BENCHMARKS, ON_CPU, Settings, say_sides
from .machine import machine

_LONG = "accuracy-"  # hours: only when they are asked for


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "name", choices=(*BENCHMARKS, "all", "table"), help="all is every one but accuracy-*"
    )
    parser.add_argument(
        "results", nargs="*", type=Path, help="with table: files of --out, one a machine"
    )
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="cifar10.zip, imagenette128.zip"
    )
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "ddlabel-benchmarks"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=20, help="how long each side works in a round"
    )
    parser.add_argument(
        "--out", type=Path, help="results as JSON; what is there of other names and devices stays"
    )
    parser.add_argument(
        "--epochs", type=int, default=300, help="accuracy: epochs of the students at IPC 10"
    )
    parser.add_argument("--expert", help="accuracy: run, or RUN@EPOCH, for soft labels")
    parser.add_argument(
        "--images", type=int, default=1000, help="densify: N of the memory at N and 4 N"
    )
    parser.add_argument("--gigabytes", type=float, default=2, help="bundle: its size")
    parser.add_argument(
        "--set", action="append", default=[], metavar="OPTION=VALUE", help="for ddlabel's side"
    )
    given = vars(parser.parse_args())
    name, results, out = given.pop("name"), given.pop("results"), given.pop("out")
    if name == "table":
        if not results:
            parser.error("table: name the results file")
        print(
            table(
                {
                    device: each
                    for path in results
                    for device, each in json.loads(path.read_text()).items()
                }
            )
        )
        return
    if given["device"] == "auto":
        given["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    if given["device"] == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: there is none here")
    pairs = (text.partition("=")[::2] for text in given.pop("set"))
    settings = Settings(**given, given={option.replace("-", "_"): value for option, value in pairs})
    found = json.loads(out.read_text()) if out and out.exists() else {}
    for each in (
        [name] if name != "all" else [each for each in BENCHMARKS if not each.startswith(_LONG)]
    ):
        _measure(each, settings, found)
        if out:
            out.write_text(json.dumps(found, indent=1) + "\n")


def _measure(name: str, settings: Settings, found: dict) -> None:
    """Add a result to those of its device, and print it."""
    if name in ON_CPU:
        settings = replace(settings, device="cpu")
    result = BENCHMARKS[name](settings)
    if settings.given:
        result["given"] = settings.given
    results = found.setdefault(settings.device, {})
    results["machine"] = machine(settings.device)
    results[name] = result
    print(f"{name} on {settings.device}: {describe(results['machine'])}")
    for key, each in result["figures"].items():
        print(f"  {line(key, settings.device, each)}")
    if "reference" in result:
        print("\n".join(say_sides(result)), flush=True)


if __name__ == "__main__":
    main()
