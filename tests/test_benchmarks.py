"""The benchmarks' reference is what it says, and their statistics are right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from benchmarks import reference
from benchmarks.__main__ import main
from benchmarks.figures import WANTED, figure, line, paired, table
from benchmarks.harness import Settings, Side, versus
from benchmarks.inputs import noise, tensors
from benchmarks.labels import copy_weights
from benchmarks.machine import flops
from benchmarks.students import inside

from ddlabel.methods.labels import views
from ddlabel.methods.labels.gift import gift
from ddlabel.methods.nets import build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training import cost

NETS = [
    ("convnet-d3", 32, 320_010),
    ("convnet-d5", 128, 615_690),
    ("resnet18-modified", 32, 11_173_962),
]
MACHINE = {
    "cpu": "Some CPU",
    "cores": 2,
    "threads": 2,
    "capability": "AVX2",
    "torch": "2.15",
    "gpu": None,
}
RATES = {"matmul_flops_per_second": {"float32": 125e9, "bfloat16": 7e8}}


def own(name: str, size: int):
    unit = normalisation((0.0,) * 3, (1.0,) * 3)
    return build(name, unit, channels=3, size=size, num_classes=10, seed=0).body


@pytest.mark.parametrize(("name", "size", "parameters"), NETS)
def test_the_reference_is_the_same_network_at_the_same_cost(name, size, parameters):
    body, net = own(name, size), reference.network(name, size, 10)
    assert sum(p.numel() for p in net.parameters()) == parameters
    copy_weights(body, net)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(net.eval()(images), body.eval()(images), atol=1e-5)
    for backward in (False, True):
        assert flops(reference.network(name, size, 10), size, backward=backward) == cost.flops(
            body, (3, size, size), backward=backward
        )


@pytest.mark.parametrize("name", reference.OPERATIONS)
def test_every_operation_of_the_reference_changes_images_and_keeps_their_shape(name):
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)) + 0.1
    changed = reference.augment(images, name)
    assert changed.shape == images.shape
    assert changed.isfinite().all()
    assert not torch.equal(changed, images)
    if name == "flip":
        kept = (changed == images).flatten(1).all(1)
        assert torch.equal(torch.where(kept.view(-1, 1, 1, 1), images, images.flip(3)), changed)
    if name == "cutout":  # a quarter at the most
        assert ((changed == 0).float().mean((1, 2, 3)) <= 0.25).all()


def test_the_reference_learns_hard_and_soft_labels():
    images = torch.zeros(20, 3, 8, 8)
    labels = torch.arange(20) % 2
    images[labels == 1, :, :, ::2] = 3  # stripes: most operations leave them
    given = {"epochs": 20, "batch_size": 10, "seeds": range(2), "device": "cpu"}
    for target in (labels, torch.nn.functional.one_hot(labels).float()):
        assert (
            min(reference.train_students("convnet-d1", (images, target), (images, labels), **given))
            > 0.9
        )


def test_the_reference_labels_views_and_refines_as_ddlabel_does():
    bundle, net = noise(3, size=16), reference.network("convnet-d1", 16, 10)
    images, hard = tensors(bundle)
    grid = torch.from_numpy(views.grid(3, 16, 16, 0, n=2).boxes)
    found = reference.densify(net, images, (grid * 16).round().int().tolist(), "cpu")
    with torch.no_grad():
        for number, box in enumerate(grid):
            expected = net(views.crop(images, box.expand(3, 4)))
            assert torch.allclose(found[:, number], expected, atol=1e-4)
    logits = torch.from_numpy(bundle.labels("soft").decode())
    expected = gift(logits, bundle.labels("soft").meta, hard, space="probs", gamma=0.1, alpha=0.1)
    assert torch.allclose(reference.refine(logits, hard), expected, atol=1e-6)


def test_statistics_by_hand():
    ratio = paired([100, 200, 400], [400, 400, 400])
    assert ratio == {"median": 2, "low": 1, "high": 4, "rounds": [4, 2, 1]}
    # Mean 12, deviation 2, n = 3: half-width 4.303 · 2/√3 = 4.97.
    assert inside([10, 12, 14], [16, 16.9])["reached"]
    assert not inside([10, 12, 14], [17, 17.1])["reached"]


class InThisProcess(Side):
    """A side of a fixed rate that starts no process."""

    def __init__(self, device, seconds):
        self.seconds = seconds

    def __exit__(self, *_):
        pass

    def run(self, amount, **how):
        return {
            "amount": amount,
            "seconds": self.seconds * amount,
            "rate": 10 / self.seconds,
            "peak_memory_bytes": 7,
        }


def test_sides_are_paced_and_compared(monkeypatch):
    monkeypatch.setattr("benchmarks.harness.Side", InThisProcess)
    monkeypatch.setattr(
        "benchmarks.harness.matmul_rates", lambda _: {"float32": 1e5, "bfloat16": 4e5}
    )
    settings = Settings(data=Path(), work=Path(), device="cpu", rounds=2, seconds=20)
    found = versus("evaluate", settings, "images/s", (0.4,), (0.05,), expected=6, flops=100)
    assert found["ratio"] == {"median": 8, "low": 8, "high": 8, "rounds": [8, 8]}
    assert found["reference"]["amount"] == found["at_equal_work"]["ddlabel"]["amount"] == 50
    assert found["ddlabel"]["amount"] == 400
    assert found["ddlabel"]["flops_per_second"] == 200 * 100
    assert found["ddlabel"]["share_of_matmul"] == {"float32": 0.2, "bfloat16": 0.05}
    assert found["figures"]["evaluate"]["reached"] is True


def test_what_goes_wrong_in_the_process_of_a_side_is_shown():
    with (
        Side("cpu", int, "no number") as side,
        pytest.raises(RuntimeError, match="invalid literal for int"),
    ):
        side.run(1)


def test_table():
    results = {
        "cpu": {
            "machine": MACHINE | RATES,
            "evaluate": {
                "figures": {
                    "evaluate": figure("evaluate", "cpu", 6.25, spread=(6, 6.5), also="400 → 2,500")
                }
            },
            "start-up": {"figures": {"help": figure("help", "cpu", 0.4)}},
        }
    }
    lines = table(json.loads(json.dumps(results))).splitlines()
    assert (
        f"| {WANTED['evaluate'].what} | ≥ 6 × | 6.25 × (6 … 6.5), 400 → 2,500 ✓ | ≥ 50 × | not measured |"
        in lines
    )
    assert "| `ddlabel --help` | ≤ 0.35 s | 0.4 s ✗ | – | not measured |" in lines
    assert len({text.count("|") for text in lines[: 2 + len(WANTED)]}) == 1
    assert "CPU: Some CPU, 2 cores" in lines[-1]
    assert line("gift-time", "cpu", figure("gift-time", "cpu", -1)).endswith(
        "wanted ≤ 2 %: reached"
    )


def test_start_up_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.__main__.machine", lambda _: MACHINE | RATES)
    out = tmp_path / "results.json"
    words = [
        "benchmarks",
        "start-up",
        "--rounds",
        "1",
        "--work",
        str(tmp_path),
        "--device",
        "cpu",
        "--out",
        str(out),
    ]
    monkeypatch.setattr("sys.argv", words)
    main()
    assert "ddlabel info FILE" in capsys.readouterr().out
    seconds = json.loads(out.read_text())["cpu"]["start-up"]["seconds"]
    assert all(0 < each[0] < 100 for each in seconds.values())
    monkeypatch.setattr("sys.argv", ["benchmarks", "table", str(out)])
    main()
    assert "`ddlabel info FILE`" in capsys.readouterr().out
