"""`--plan`: what a command will cost, without running it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ddlabel.methods.nets import build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training import cost
from ddlabel.training.cost import Cost, network_cost

GUIDE = Path(cost.__file__).parents[1] / "guide"

# One image through convnet-d1:width=4 at 8 px, by hand: see test_sweep_plan.py.
FORWARD = 2 * 9 * 4 * 64 + 2 * 64 * 10


def test_seconds_are_those_of_products_moves_and_steps(monkeypatch):
    rates = {torch.float32: 1e9, torch.bfloat16: 4e9}
    monkeypatch.setattr(cost, "convolution_rate", lambda device, dtype: rates[dtype])
    monkeypatch.setattr(cost, "memory_rate", lambda device: 1e8)
    work = Cost(flops=500_000, activations=1000, steps=2) * 1000
    cpu = torch.device("cpu")
    # At 0.8 of 1 or 4 GFLOP/s; 8 bytes for each activation at 0.1 GB/s; 4 ms for each step.
    assert work.seconds(cpu, "fp32") == pytest.approx(0.625 + 0.08 + 8.0)
    assert work.seconds(cpu, "bf16") == pytest.approx(0.625 / 4 + 0.08 + 8.0)


def test_the_page_on_scale_has_the_counts_of_resnet18(monkeypatch):
    monkeypatch.setattr(cost, "memory_rate", lambda device: 3e12)
    prepare = normalisation([0.5] * 3, [0.25] * 3)
    shape = (3, 224, 224)
    spec = "torchvision-resnet18"
    body = build(spec, prepare, channels=3, size=224, num_classes=1000, seed=0).body
    label, step = (network_cost(body, shape, backward=backward) for backward in (False, True))
    seconds = []
    for work, rate in (
        (label * 50_000, 400e12),
        (label * (25 * 50_000), 400e12),
        (label * (25 * 50_000), 25e12),
        (step * (300 * 50_000) + Cost(steps=150_000), 400e12),
    ):
        monkeypatch.setattr(cost, "convolution_rate", lambda device, dtype, rate=rate: rate)
        seconds.append(f"= {work.seconds(torch.device('cpu'), 'bf16'):,.0f} s |")
    page = (GUIDE / "scale.md").read_text()
    assert [text in page for text in seconds] == [True] * 4, seconds


def test_costs_add_up():
    first = Cost(flops=1, activations=2, steps=3)
    assert first + first * 2 == Cost(flops=3, activations=6, steps=9)


def test_a_plan_runs_nothing_and_counts_the_operations(cli, digits):
    before = sorted(Path().rglob("*"))
    words = ("few.safetensors", "soft.h5", "--expert", "expert", "--plan")
    planned = json.loads(cli("relabel", *words, "--json").out)
    assert planned["flops"] == 20 * FORWARD
    assert planned["seconds"] > 0
    students = ("--epochs", 3, "--seeds", 2, "--net", "convnet-d1:width=4")
    told = cli("evaluate", "few.safetensors", "--test", "test.safetensors", *students, "--plan")
    assert told.out.startswith(b"evaluate: ")
    assert b" GFLOP, " in told.out
    assert sorted(Path().rglob("*")) == before


def test_a_plan_says_what_is_not_known_before(cli, digits):
    words = ("few.safetensors", "soft.h5", "--expert", "expert", "--real", "real.safetensors")
    assert b"not known before" in cli("relabel", *words, "--plan").out


def test_a_plan_refuses_what_the_command_would_refuse(cli, digits):
    words = ("few.safetensors", "--test", "test.safetensors", "--loss", "soft-ec", "--plan")
    assert b"did you mean 'soft-ce'?" in cli("evaluate", *words, code=2).err
