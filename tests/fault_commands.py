"""Commands on tiny inputs, which the fault suite kills, interrupts, and starts twice.

They run in forks of a process that has imported everything and computed nothing: torch computes in
the forks.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import pkgutil
import shutil
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
from grids import write_grid
from injection import run_in_child
from PIL import Image
from samples import make_bundle

import ddlabel
from ddlabel.cli.app import main
from ddlabel.core import interruption
from ddlabel.data import formats
from ddlabel.data.results import Results

OUT = Path("out")
# What the commands print goes beside the folder that they work in.
LOG = Path("../log")
TRAINING = "--net convnet-d1:width=2,norm=batch --compile off --precision fp32 --device cpu"
SWEEP = {
    "command": "relabel",
    "options": {
        "bundle": "few.safetensors",
        "expert": "expert",
        "epoch": "last",
        "out": "out/{temperature}.safetensors",
    },
    "axes": {"temperature": [1, 2.5]},
}
COMMANDS = {
    "train-expert": f"train-expert few.safetensors out/expert {TRAINING} --epochs 2 --batch-size 6 "
    "--optimizer sgd:lr=0.05,momentum=0.9 --augment flip+crop --zca",
    "relabel": "relabel few.safetensors out/soft.safetensors --expert expert --epoch last",
    "densify": "densify few.safetensors out/dense.h5 --expert expert --epoch last "
    "--views fkd:count=2",
    "learn": "learn few.safetensors out/learned.safetensors --real few.safetensors --device cpu "
    "--net convnet-d1:width=2 --method bptt:steps=1,window=1,real-batch=3 --iterations 3 "
    "--save-every 1",
    "evaluate": f"evaluate few.safetensors --test test.safetensors --out out/r.jsonl {TRAINING} "
    "--epochs 2 --seeds 2 --save-students out/students",
    "sweep": "sweep grid.toml --out out/sweep.jsonl",
    "import": "import images out/images.safetensors --size 8",
    "select": "select few.safetensors out/one.safetensors --ipc 1",
    "refine": "refine few.safetensors out/refined.safetensors",
    "compress": "compress few.safetensors out/small.safetensors --codec float16",
    "export": "export few.safetensors out/folder --format folder",
}
# Processes of one results file share the work.
SHARED = ("evaluate", "sweep")
# What a rerun says that goes on from a saved state.
GOES_ON = b": going on "
EXISTS = 6
NOTHING: AbstractContextManager[Any] = nullcontext()


def prepare(folder: str) -> None:
    """Import everything, and make the inputs of the commands in a folder; work there."""
    for module in pkgutil.walk_packages(ddlabel.__path__, "ddlabel."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    work = Path(folder) / "work"
    for name in ("images/cat", "images/dog", "temporary", "home"):
        (work / name).mkdir(parents=True)
    os.chdir(work)
    os.environ |= {"TMPDIR": str(work / "temporary"), "HOME": str(work / "home")}
    tempfile.tempdir = None
    formats.write("few.safetensors", make_bundle(images=12))
    formats.write("test.safetensors", make_bundle(images=12, seed=1))
    for number, name in enumerate(("cat/1", "cat/2", "dog/1", "dog/2")):
        pixels = np.full((8, 8, 3), 60 * number, np.uint8)
        Image.fromarray(pixels).save(f"images/{name}.png")
    write_grid(SWEEP)
    # Typer imports more when it parses a command.
    sys.argv = ["ddlabel", "info", "few.safetensors"]
    with suppress(SystemExit), redirect_stdout(io.StringIO()):
        main()
    training = COMMANDS["train-expert"].replace("out/expert", "expert").replace("--zca", "")
    assert run_in_child(lambda: _call(training.split())) == 0, LOG.read_text()
    # The forks then share the memory of what is there now.
    gc.collect()
    gc.freeze()


def run(name: str, within: AbstractContextManager[Any] = NOTHING, *words: str) -> int:
    """Run a command in this process, a fork, as the shell does, `within` a block of faults.

    Returns its exit code. What it prints is in `LOG`.
    """
    interruption._PROCESS = os.getpid()
    return _call([*COMMANDS[name].split(), *words], within)


def _call(words: list[str], within: AbstractContextManager[Any] = NOTHING) -> int:
    """Call the command line, with standard output and standard error in `LOG`."""
    with LOG.open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv = ["ddlabel", *words]
    code = 0
    try:
        with within:
            main()
    except SystemExit as left:
        code = int(left.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def begin_again() -> None:
    """Remove all that the command has made."""
    OUT.mkdir(exist_ok=True)
    for path in OUT.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def whole_content(name: str) -> dict[str, bytes]:
    """The content of the folder after a run that nothing interrupts."""
    begin_again()
    assert run_in_child(lambda: run(name)) == 0, LOG.read_text()
    return content()


def content() -> dict[str, bytes]:
    """The bytes of every file in the folder of the commands, and its folders.

    The lines of results are without their times, and all of them are sound.
    """
    files = {}
    for path in sorted(Path().rglob("*")):
        files[str(path)] = b"" if path.is_dir() else path.read_bytes()
        if path.suffix == ".jsonl" and path.parent == OUT:
            records = Results(path).read(_kind_of(path), _refuse)
            lines = [json.loads(line) for line in files[str(path)].splitlines()]
            assert len(records) == len(lines)
            shorter = [line | {"cost": None, "sha256": None} for line in lines]
            files[str(path)] = json.dumps(shorter).encode()
    return files


def temporary_files() -> list[str]:
    """The files that a command makes while it runs and removes at its end."""
    return [str(path) for path in Path().rglob("*.part")] + [
        str(path) for path in Path("temporary").iterdir()
    ]


def check_rerun(name: str, whole: dict[str, bytes]) -> int:
    """Run until nothing is left to do; the files are those of an uninterrupted run.

    Returns 1 if the killed run had finished everything, and the rerun said so, else 0.
    """
    code = run_in_child(lambda: run(name))
    assert code in (0, EXISTS), (code, LOG.read_text())
    after = content()
    assert after.keys() == whole.keys(), (sorted(after.keys() ^ whole.keys()), LOG.read_text())
    assert after == whole, [name for name in after if after[name] != whole[name]]
    return int(code == EXISTS)


def _kind_of(path: Path) -> str:
    return "cell" if path.stem == "sweep" else "student"


def _refuse(note: str) -> None:
    raise AssertionError(note)
