"""The guide's examples run, in the folder that `ddlabel demo --out demo` makes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import PAGES, code_blocks

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
MAKES_THE_FOLDER = "ddlabel demo --out demo"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guide") / "demo"
    subprocess.run(
        [sys.executable, "-m", "ddlabel", "demo", "--out", folder, "--quiet"], check=True
    )
    (folder / "results.jsonl").unlink()
    return folder


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_shell_examples_run(page, demo, tmp_path):
    shutil.copytree(demo, tmp_path, dirs_exist_ok=True)
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    for block in code_blocks(page.read_text(), "sh"):
        if MAKES_THE_FOLDER not in block:
            script = f"set -euo pipefail\n{block}"
            subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_examples_run(page, demo, tmp_path):
    shutil.copytree(demo, tmp_path, dirs_exist_ok=True)
    for block in code_blocks(page.read_text(), "python"):
        subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True)
