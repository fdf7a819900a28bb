"""One run on a machine with a GPU: its tests and all benchmarks, within a time, into one JSON.

`prepare FOLDER` makes small inputs, less than 64 MiB, on a machine that has the data sets. `run
FOLDER` needs nothing but them, and no network. `run --dry` does the same on a CPU, to try it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ddlabel.data import formats

from . import inputs
from .harness import Settings

_TESTS = "tests/training/test_cuda.py"
_LARGEST_BYTES = 64 << 20
# What is made: bundle, split, and images. Together with the experts it is about 50 MB.
_PREPARED = (("cifar10", "train", 6000), ("cifar10", "test", 4000), ("imagenette128", "train", 200))
_EXPERTS = (("cifar10", "convnet-d3"), ("imagenette128", "convnet-d5"))
# The most that one part takes, of the minutes of all.
_SHARE_OF_TESTS = 0.35
_SHARE_OF_BENCHMARK = 0.2
# With less time than this left, no part is started.
_SECONDS_TO_START = 15
# The order of importance: what comes last may find no time left.
_BENCHMARKS = (
    "evaluate",
    "densify",
    "relabel",
    "evaluate-32",
    "command-evaluate",
    "command-train-expert",
    "variant-stack5-compile-off-bf16",
    "variant-stack5-compile-on-bf16",
    "variant-stack1-compile-on-bf16",
    "variant-streams",
    "variant-processes",
    "resnet",
    "train-expert",
    "variant-stack5-compile-off-fp32",
    "variant-stack5-compile-off-tf32",
    "variant-stack5-compile-off-fp16",
    "variant-stack1-compile-off-bf16",
    "beyond-memory",
    "gift",
    "command-relabel",
    "command-densify",
    "defaults",
)


def main() -> None:
    """Prepare the inputs, or run the tests and benchmarks on them."""
    parser = argparse.ArgumentParser(prog="tests/benchmarks/gpu.sh", description=__doc__)
    parser.add_argument("action", choices=("prepare", "run"))
    parser.add_argument("folder", type=Path, help="the inputs of the benchmarks")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    default = Path(os.environ.get("OUT", "."), "gpu.json")
    parser.add_argument("--out", type=Path, default=default, help="default: $OUT/gpu.json")
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--dry", action="store_true", help="on a CPU, in short rounds")
    arguments = parser.parse_args()
    if arguments.action == "prepare":
        prepare(arguments.folder, arguments.data)
        return
    if not arguments.dry and not torch.cuda.is_available():
        parser.error("there is no GPU here: give --dry to try the command on the CPU")
    results = run_all(
        arguments.folder, arguments.out, minutes=arguments.minutes, is_dry=arguments.dry
    )
    print(f"{arguments.out}: {json.dumps(results['parts'])}")


def prepare(folder: Path, data: Path) -> None:
    """Make small bundles of the names that the benchmarks ask for, and experts of them.

    Raises:
        SystemExit: They are too large to travel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = Settings(data=data, work=folder / "whole", device="cpu")
    small = replace(whole, work=folder)
    for name, split, num_images in _PREPARED:
        path = folder / f"{name}-{split}.safetensors"
        if not path.exists():
            bundle = formats.read(str(inputs.real_images(whole, name, split)))
            formats.write(str(path), bundle.take(inputs.sample_rows(len(bundle), num_images)))
    inputs.few_images(small, ipc=50)
    for name, net in _EXPERTS:
        inputs.expert_run(small, net, name)
    sizes = [path.stat().st_size for path in folder.rglob("*") if _travels(path, folder)]
    print(f"{folder}: {sum(sizes) / 1e6:.1f} MB; remove {folder / 'whole'} before it travels")
    if sum(sizes) > _LARGEST_BYTES:
        raise SystemExit(f"{folder}: more than {_LARGEST_BYTES >> 20} MiB")


def _travels(path: Path, folder: Path) -> bool:
    return path.is_file() and folder / "whole" not in path.parents


def run_all(folder: Path, out: Path, *, minutes: float, is_dry: bool) -> dict[str, Any]:
    """Run the tests and the benchmarks, and write the results after each of them.

    A part that fails or takes too long is named in `parts`, and the others go on.
    """
    seconds = 60 * minutes
    deadline = time.monotonic() + seconds
    results: dict[str, Any] = {"dry": is_dry, "parts": {}, "benchmarks": {}, "errors": {}}
    out.parent.mkdir(parents=True, exist_ok=True)
    results["parts"]["tests"] = _run_tests(seconds * _SHARE_OF_TESTS, results["errors"])
    measured = out.with_suffix(".benchmarks.json")
    measured.unlink(missing_ok=True)
    for name in _BENCHMARKS:
        left = min(deadline - time.monotonic(), seconds * _SHARE_OF_BENCHMARK)
        if left < _SECONDS_TO_START:
            results["parts"][name] = "no time was left"
            continue
        words = _benchmark_words(name, folder, measured, is_dry=is_dry)
        results["parts"][name] = _run_part(name, words, left, results["errors"])
        if measured.exists():
            results["benchmarks"] = json.loads(measured.read_text())
        out.write_text(json.dumps(results, indent=1) + "\n")
    measured.unlink(missing_ok=True)
    return results


def _benchmark_words(name: str, folder: Path, measured: Path, *, is_dry: bool) -> list[str]:
    """Return the program of a benchmark: short rounds, and few images for the memory of densify."""
    seconds, device = ("0.2", "cpu") if is_dry else ("3", "cuda")
    rounds = "1" if is_dry else "3"
    module = [sys.executable, "-m", "tests.benchmarks", name, "--device", device]
    options = ["--work", str(folder), "--out", str(measured), "--images", "50"]
    return [*module, *options, "--seconds", seconds, "--rounds", rounds]


def _run_tests(limit: float, errors: dict[str, str]) -> str:
    """Run the tests that need a GPU; without one they are skipped."""
    # This machine may have other versions, whose new warnings are no errors.
    options = ["-n", "0", "-m", "cuda", "-rs", "-o", "filterwarnings=default"]
    words = [sys.executable, "-m", "pytest", *options, _TESTS]
    outcome = _run_part("tests", words, limit, errors, keeps_output=True)
    return f"{outcome}; {errors['tests'].strip().splitlines()[-1]}"


def _run_part(
    name: str,
    words: Sequence[str],
    limit: float,
    errors: dict[str, str],
    *,
    keeps_output: bool = False,
) -> str:
    """Run one program for at most `limit` seconds, and return what became of it.

    The end of its output is kept in `errors` if it fails.
    """
    print(f"{name} …", flush=True)
    started = time.monotonic()
    try:
        done = subprocess.run(
            words, cwd=inputs.ROOT, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        errors[name] = f"longer than {limit:.0f} s"
        return f"stopped after {limit:.0f} s"
    seconds = time.monotonic() - started
    if done.returncode or keeps_output:
        errors[name] = (done.stdout + done.stderr)[-6000:]
    outcome = "failed" if done.returncode else "done"
    return f"{outcome} in {seconds:.0f} s"


if __name__ == "__main__":
    main()
