"""`ddlabel` on a machine without enough memory: exit code 8 and one line, from real processes."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from samples import TINY

# Enough to import torch, and not enough for the network below.
LIMIT_BYTES = 6 << 30
# 40,000² weights of 9 numbers in the second block: 54 GiB.
TOO_WIDE = "convnet-d2:width=40000"


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))


def run_in_little_memory(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "ddlabel", *words],
        cwd=folder,
        capture_output=True,
        check=False,
        preexec_fn=limit_memory,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["train-expert", "real.safetensors", "wide", "--net", TOO_WIDE, *TINY[2:]],
        [
            *["evaluate", "few.safetensors", "--test", "test.safetensors", "--seeds", "1"],
            *["--net", TOO_WIDE, "--epochs", "1", "--precision", "fp32"],
        ],
    ],
    ids=["train-expert", "evaluate"],
)
def test_a_network_that_does_not_fit_is_out_of_memory(words, made):
    done = run_in_little_memory(made, *words)
    assert done.returncode == 8, done.stderr.decode()
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: ")
    assert "--batch-size" in line


def test_a_batch_that_does_not_fit_is_out_of_memory(cli, digits, monkeypatch):
    """With torch's own error in the forward pass, after the network was built."""
    import torch
    from torch import nn

    monkeypatch.setattr(nn.ReLU, "forward", lambda *_: torch.empty(1 << 60))
    done = cli("train-expert", "real.safetensors", "run", *TINY, code=8)
    (line,) = done.err.decode().splitlines()
    assert "--batch-size" in line
