"""One run on a machine with a GPU: its tests and all benchmarks, within a time, into one JSON.

`prepare FOLDER` makes small inputs, less than 56 MB, on a machine that has the data sets. `run
FOLDER` needs nothing but them, and no network. `run --dry` does the same on a CPU, to try it.
"""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ddlabel.data import formats

from . import inputs
from .harness import Settings

_TESTS = "tests/training/test_cuda.py"
# With the 7 MB of the repository it stays below the 64 MiB that travel.
_LARGEST_BYTES = 56_000_000
_WHOLE = "whole"
_EXPERTS = (("cifar10", "convnet-d3"), ("imagenette128", "convnet-d5"))


class Images(NamedTuple):
    """Images of a split: how many travel, and how many the benchmarks need.

    The machine with the GPU repeats those that travelled.
    """

    name: str
    split: str
    travel: int
    needed: int

    @property
    def file_name(self) -> str:
        """The name of their bundle."""
        return f"{self.name}-{self.split}.safetensors"


# A GPU reads 512 images of 128 px at a time, and three such chunks are in its memory at once. So
# its memory for N images is that for 4 N from N = 1,536 on.
_MEMORY_IMAGES = 1536
_IMAGES = (
    Images("cifar10", "train", 2000, 50_000),
    Images("cifar10", "test", 4000, 10_000),
    Images("imagenette128", "train", 200, 4 * _MEMORY_IMAGES),
)
# The most that one part takes, of the minutes of all.
_SHARES = {"tests": 0.3, "evaluate-1000": 0.25, "evaluate": 0.3, "resnet": 0.3}
_SHARE = 0.2
# With less time than this left, no part is started.
_SECONDS_TO_START = 20
_SECONDS_OF_TEST = 90
_SHOWN_LINES = 6
_KEPT_CHARACTERS = 40_000
# The order of importance: what comes last may find no time left. `defaults` needs an hour.
_BENCHMARKS = (
    "evaluate-1000",
    "evaluate",
    "densify",
    "relabel",
    "resnet",
    "command-train-expert",
    "train-expert",
    "variant-stack5-compile-on-bf16",
    "variant-streams",
    "variant-processes",
    "variant-stack5-compile-off-bf16",
    "variant-stack1-compile-on-bf16",
    "command-evaluate",
    "evaluate-32",
    "variant-stack5-compile-off-fp32",
    "variant-stack5-compile-off-tf32",
    "variant-stack5-compile-off-fp16",
    "variant-stack1-compile-off-bf16",
    "beyond-memory",
    "gift",
    "command-relabel",
    "command-densify",
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
    print(f"{arguments.out}: {json.dumps(results['parts'], indent=1)}")


def prepare(folder: Path, data: Path) -> None:
    """Make small bundles of the names that the benchmarks ask for, and experts of them.

    Raises:
        SystemExit: They are too large to travel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = Settings(data=data, work=folder / _WHOLE, device="cpu")
    small = replace(whole, work=folder)
    for images in _IMAGES:
        path = folder / images.file_name
        if not path.exists():
            bundle = formats.read(str(inputs.real_images(whole, images.name, images.split)))
            formats.write(str(path), bundle.take(inputs.sample_rows(len(bundle), images.travel)))
    for ipc in (10, 50):
        inputs.few_images(small, ipc)
    for name, net in _EXPERTS:
        inputs.expert_run(small, net, name)
    sizes = [path.stat().st_size for path in folder.rglob("*") if _travels(path, folder)]
    print(f"{folder}: {sum(sizes) / 1e6:.1f} MB; remove {folder / _WHOLE} before it travels")
    if sum(sizes) > _LARGEST_BYTES:
        raise SystemExit(f"{folder}: more than {_LARGEST_BYTES / 1e6:.0f} MB")


def _travels(path: Path, folder: Path) -> bool:
    return path.is_file() and folder / _WHOLE not in path.parents


def _enlarge(folder: Path, work: Path) -> None:
    """Copy the inputs to the folder `work`, with as many images as the benchmarks need."""
    shutil.copytree(folder, work, dirs_exist_ok=True, ignore=shutil.ignore_patterns(_WHOLE))
    for images in _IMAGES:
        bundle = formats.read(str(folder / images.file_name))
        path = work / images.file_name
        path.unlink()
        formats.write(str(path), bundle.take(np.arange(images.needed) % len(bundle)))


def run_all(folder: Path, out: Path, *, minutes: float, is_dry: bool) -> dict[str, Any]:
    """Run the tests and the benchmarks, and write the results after each of them.

    A part that fails or takes too long is named in `parts`, its output is kept in `outputs`, and
    the others go on.
    """
    seconds = 60 * minutes
    deadline = time.monotonic() + seconds
    results: dict[str, Any] = {"dry": is_dry, "parts": {}, "benchmarks": {}, "outputs": {}}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ddlabel-gpu-") as made:
        work = Path(made)
        _enlarge(folder, work)
        measured = work / "measured.json"
        for name in ("tests", *_BENCHMARKS):
            left = min(deadline - time.monotonic(), seconds * _SHARES.get(name, _SHARE))
            if left < _SECONDS_TO_START:
                results["parts"][name] = "no time was left"
                continue
            words = _words(name, work, measured, is_dry=is_dry)
            results["parts"][name], results["outputs"][name] = _run_part(name, words, left)
            _merge(results["benchmarks"], measured)
            out.write_text(json.dumps(results, indent=1) + "\n")
    out.write_text(json.dumps(results, indent=1) + "\n")
    return results


def _words(name: str, work: Path, measured: Path, *, is_dry: bool) -> list[str]:
    """Return the program of a part: of the tests, or of a benchmark in short rounds."""
    if name == "tests":
        return [sys.executable, "-m", "pytest", *_pytest_options(), _TESTS]
    module = [sys.executable, "-m", "tests.benchmarks", name]
    options = ["--work", str(work), "--out", str(measured)]
    if is_dry:
        sizes = ["--device", "cpu", "--seconds", "0.2", "--rounds", "1", "--images", "20"]
    else:
        images = str(_MEMORY_IMAGES)
        sizes = ["--device", "cuda", "--seconds", "4", "--rounds", "2", "--images", images]
    return [*module, *options, *sizes]


def _pytest_options() -> list[str]:
    """Return options that name each test when it ends: a stopped run says how far it came."""
    options = ["-o", "addopts=", "--import-mode=importlib", "-v", "-rs", "--durations=10"]
    # This machine may have other versions, whose new warnings are no errors.
    options += ["-o", "filterwarnings=default", "-o", f"timeout={_SECONDS_OF_TEST}"]
    if importlib.util.find_spec("xdist"):
        # Most of the time goes to compiling, on the cores.
        options += ["-n", "4"]
    return options


def _merge(benchmarks: dict[str, Any], measured: Path) -> None:
    """Move the results of a part to those of the others, by device. A stopped part has none."""
    if not measured.exists():
        return
    try:
        of_part = json.loads(measured.read_text())
    except json.JSONDecodeError:  # it was stopped while it wrote them
        of_part = {}
    measured.unlink()
    for device, found in of_part.items():
        benchmarks.setdefault(device, {}).update(found)


def _run_part(name: str, words: Sequence[str], limit: float) -> tuple[str, str]:
    """Run one program for at most `limit` seconds.

    Returns:
        What became of it, and the end of its output.
    """
    print(f"{name} …", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        # In a group of its own: its sides end with it.
        process = subprocess.Popen(
            words, cwd=inputs.ROOT, stdout=output, stderr=subprocess.STDOUT, process_group=0
        )
        try:
            code = process.wait(limit)
            outcome = "failed" if code else "done"
        except subprocess.TimeoutExpired:
            outcome = "stopped"
        finally:
            _end_group(process)
        output.seek(0)
        text = output.read().decode(errors="replace")[-_KEPT_CHARACTERS:]
    outcome = f"{outcome} after {time.monotonic() - started:.0f} s"
    print("\n".join([*text.splitlines()[-_SHOWN_LINES:], f"{name}: {outcome}"]), flush=True)
    return outcome, text


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """End a program and all processes that it started."""
    with suppress(ProcessLookupError):  # all of them have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    main()
