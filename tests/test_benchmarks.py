"""The reference of the benchmarks does the same work as ddlabel, and the statistics are right."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from benchmarks import defaults, gpu, labels, plain, programs, reference, students, variants
from benchmarks import experts as expert_benchmarks
from benchmarks.__main__ import main
from benchmarks.figures import GOALS, figure, figure_line, paired_ratios, results_table
from benchmarks.harness import BENCHMARKS, Settings, Side, compare_sides
from benchmarks.inputs import noise_bundle, normalised_tensors
from benchmarks.machine import flops
from experts import write_run
from safetensors.torch import load_file

from ddlabel.core.config import RuntimeOptions
from ddlabel.data import formats
from ddlabel.methods.labels import views
from ddlabel.methods.labels.gift import gift
from ddlabel.methods.nets import build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training import cost

NETS = [
    ("convnet-d3", 32, 320_010),
    ("convnet-d5", 128, 615_690),
    ("convnet-d3:width=32", 32, 24_714),
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
FLOAT32 = {"precision": "fp32", "compile": "off"}
CPU_OPTIONS = RuntimeOptions(device="cpu", **FLOAT32)


def ddlabel_network(name: str, size: int) -> torch.nn.Module:
    prepare = normalisation((0.0,) * 3, (1.0,) * 3)
    return build(name, prepare, channels=3, size=size, num_classes=10, seed=0).body


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("name", "size", "num_parameters"), NETS)
def test_the_reference_has_the_same_networks_at_the_same_cost(name, size, num_parameters):
    body = ddlabel_network(name, size)
    net = reference.network(name, size, 10)
    assert sum(parameter.numel() for parameter in net.parameters()) == num_parameters
    labels.copy_weights(body, net)
    images = torch.randn(2, 3, size, size, generator=generator())
    with torch.no_grad():
        assert torch.allclose(net.eval()(images), body.eval()(images), atol=1e-5)
    for backward in (False, True):
        counted = flops(reference.network(name, size, 10), size, backward=backward)
        assert counted == cost.flops(body, (3, size, size), backward=backward)


@pytest.mark.parametrize("name", reference.OPERATIONS)
def test_every_operation_of_the_reference_changes_images_and_keeps_their_shape(name):
    images = torch.rand(8, 3, 16, 16, generator=generator()) + 0.1
    changed = reference.augment(images, name)
    assert changed.shape == images.shape
    assert changed.isfinite().all()
    assert not torch.equal(changed, images)


def test_flip_of_the_reference_mirrors_an_image_or_keeps_it():
    images = torch.rand(8, 3, 16, 16, generator=generator())
    changed = reference.augment(images, "flip")
    for image, result in zip(images, changed, strict=True):
        assert torch.equal(result, image) or torch.equal(result, image.flip(2))


def test_cutout_of_the_reference_removes_at_most_a_quarter():
    images = torch.ones(8, 3, 16, 16)
    removed = (reference.augment(images, "cutout") == 0).float().mean((1, 2, 3))
    assert (removed > 0).all()
    assert (removed <= 0.25).all()


@pytest.mark.parametrize("are_soft", [False, True])
def test_the_reference_learns_hard_and_soft_labels(are_soft):
    hard = torch.arange(20) % 2
    images = torch.zeros(20, 3, 8, 8)
    images[hard == 1, :, :, ::2] = 3  # stripes: most operations leave them
    target = torch.nn.functional.one_hot(hard).float() if are_soft else hard
    accuracies = reference.train_students(
        "convnet-d1",
        train=(images, target),
        test=(images, hard),
        epochs=20,
        batch_size=10,
        seeds=range(2),
        device="cpu",
    )
    assert min(accuracies) > 0.9


def test_the_reference_labels_views_as_the_network_labels_crops():
    bundle = noise_bundle(3, size=16)
    net = reference.network("convnet-d1", 16, 10)
    images, _ = normalised_tensors(bundle)
    boxes = torch.from_numpy(views.grid(3, 16, 16, 0, n=2).boxes)
    pixel_boxes = (boxes * 16).round().int().tolist()
    labelled = reference.densify(net, images, pixel_boxes, "cpu")
    with torch.no_grad():
        for number, box in enumerate(boxes):
            expected = net(views.crop(images, box.expand(3, 4)))
            assert torch.allclose(labelled[:, number], expected, atol=1e-4)


def test_the_reference_refines_labels_as_ddlabel_does():
    bundle = noise_bundle(3)
    soft = bundle.labels("soft")
    logits = torch.from_numpy(soft.decode())
    hard = torch.from_numpy(bundle.hard_labels)
    expected = gift(logits, soft.meta, hard, space="probs", gamma=0.1, alpha=0.1)
    assert torch.allclose(reference.refine(logits, hard), expected, atol=1e-6)


@pytest.fixture
def noise_file(tmp_path):
    """A bundle of 40 images of noise at 16 px."""
    path = tmp_path / "noise.safetensors"
    formats.write(str(path), noise_bundle(40, size=16))
    return path


@pytest.fixture
def noise_expert(noise_file, tmp_path):
    """An expert run with random weights."""
    bundle = formats.read(str(noise_file))
    return write_run(tmp_path / "expert", bundle, net="convnet-d1").folder


@pytest.mark.parametrize("amount", [7, 90])
def test_both_sides_give_the_same_soft_labels(noise_file, noise_expert, amount):
    plain = labels.reference_relabel(noise_file, noise_expert, "cpu")(amount)
    fast = labels.ddlabel_relabel(noise_file, noise_expert, "cpu", FLOAT32)(amount)
    assert plain["count"] == fast["count"] >= amount
    assert np.allclose(plain["check"], fast["check"], rtol=1e-4, atol=1e-3)


def test_both_sides_give_the_same_dense_labels(noise_file, noise_expert):
    plain = labels.reference_densify(noise_file, noise_expert, "cpu")(2)
    fast = labels.ddlabel_densify(noise_file, noise_expert, "cpu", FLOAT32)(2)
    assert plain["count"] == fast["count"] == 2 * 25
    assert np.allclose(plain["check"], fast["check"], rtol=1e-4, atol=1e-3)


def test_both_sides_refine_labels_alike():
    plain = labels.reference_refine(30)(70)
    fast = labels.ddlabel_refine(30)(70)
    assert plain["count"] == fast["count"] == 3 * 24
    assert np.allclose(plain["check"], fast["check"], atol=1e-6)


def test_the_plain_program_labels_as_the_expert_does(tmp_path, monkeypatch):
    bundle = noise_bundle(3, size=32)
    path = tmp_path / "noise.safetensors"
    formats.write(str(path), bundle)
    run = write_run(tmp_path / "expert", bundle, net="convnet-d1")
    weights = max(run.folder.glob("step-*.safetensors"))
    out = tmp_path / "labels.safetensors"
    words = ["plain", "relabel", path, out, "--net", "convnet-d1", "--weights", weights]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    plain.main()
    images, _ = plain.read_images(str(path))
    body = labels.Labeler(
        labels.inputs.checkpoint_of(run.folder), labels.Runtime.of(CPU_OPTIONS), num_images=1
    ).bodies[0]
    with torch.no_grad():
        expected = body(images)
    # The plain program pools in another order: some of the last bits differ.
    torch.testing.assert_close(load_file(out)["soft_labels"], expected, rtol=2e-5, atol=1e-5)


def test_a_program_is_timed_with_its_own_cache(tmp_path):
    program = "import os; open('{}', 'w').write(os.environ['TORCHINDUCTOR_CACHE_DIR'])"
    written = tmp_path / "written"
    words = [sys.executable, "-c", program.format(written)]
    taken = programs.run_program(words, tmp_path / "cache")
    assert written.read_text() == str(tmp_path / "cache")
    assert taken.cpu_seconds > 0
    assert taken.seconds > 0


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_both_sides_train_as_many_students_on_as_many_images(noise_file, kind):
    work = students.Work(
        train=noise_file,
        test=noise_file,
        device="cpu",
        net="convnet-d1",
        labels=kind,
        num_students=2,
        options=FLOAT32,
    )
    for make_turn in (students.reference_students, students.ddlabel_students):
        result = make_turn(work)(3, num_tested=10)
        assert result["count"] == 40 * 3 * 2
        # The accuracies are shares of ten images.
        tenths = 10 * np.array(result["accuracies"])
        assert np.allclose(tenths, tenths.round())
        assert len(tenths) == 2


def test_both_sides_train_experts_on_as_many_images(tmp_path):
    path = tmp_path / "noise.safetensors"
    formats.write(str(path), noise_bundle(600, size=8))
    plain = expert_benchmarks.reference_expert(path, "cpu", "convnet-d1")(3)
    fast = expert_benchmarks.ddlabel_expert(path, "cpu", FLOAT32, "convnet-d1:width=4")(3)
    # Three steps of 256 images are two epochs of two batches.
    assert plain["count"] == fast["count"] == 2 * 2 * 256
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("loss", ["kl", "gift", "cosine"])
def test_the_steps_of_a_loss_are_counted(noise_file, loss):
    turn = students.loss_steps(noise_file, loss, "cpu", {"net": "convnet-d1:width=4", **FLOAT32})
    assert turn(2) == {"count": 2}


def test_paired_ratios_by_hand():
    ratio = paired_ratios([100, 200, 400], [400, 400, 400])
    assert ratio == {"median": 2, "low": 1, "high": 4, "rounds": [4, 2, 1]}


def test_accuracy_is_reached_inside_the_interval_of_the_reference():
    # Mean 12, deviation 2, n = 3: half-width 4.303 · 2/√3 = 4.97.
    assert students.accuracy_figure([10, 12, 14], [16, 16.9])["reached"]
    assert not students.accuracy_figure([10, 12, 14], [17, 17.1])["reached"]


class FakeSide(Side):
    """A side that starts no process, and takes `seconds` for each unit of work."""

    def __init__(self, device, seconds):
        self.seconds = seconds

    def __exit__(self, *_):
        pass

    def run(self, amount, **turn_options):
        return {
            "amount": amount,
            "seconds": self.seconds * amount,
            "rate": 10 / self.seconds,
            "page_faults": 0,
            "peak_memory_bytes": 7,
        }


def test_sides_are_paced_and_compared(monkeypatch):
    rates = {"float32": 1e5, "bfloat16": 4e5}
    monkeypatch.setattr("benchmarks.harness.Side", FakeSide)
    monkeypatch.setattr("benchmarks.harness.matmul_rates", lambda _: rates)
    settings = Settings(data=Path(), work=Path(), device="cpu", rounds=2, seconds=20)
    result = compare_sides(
        "evaluate", settings, "images/s", reference=0.4, ddlabel=0.05, expected=6, flops=100
    )
    assert result["ratio"] == {"median": 8, "low": 8, "high": 8, "rounds": [8, 8]}
    assert result["reference"]["amount"] == 50
    assert result["at_equal_work"]["ddlabel"]["amount"] == 50
    assert result["ddlabel"]["amount"] == 400
    assert result["ddlabel"]["flops_per_second"] == 200 * 100
    assert result["ddlabel"]["share_of_matmul"] == {"float32": 0.2, "bfloat16": 0.05}
    assert result["figures"]["evaluate"]["reached"] is True


def fail() -> None:
    raise LookupError("no such turn")


def test_an_error_in_the_process_of_a_side_is_shown():
    with Side("cpu", partial(fail)) as side, pytest.raises(RuntimeError, match="LookupError"):
        side.run(1)


def test_table_shows_goals_and_measured_figures_of_every_device():
    evaluate = figure("evaluate", "cpu", 6.25, spread=(6, 6.5), detail="400 → 2,500")
    of_cpu = {
        "machine": MACHINE | RATES,
        "evaluate": {"figures": {"evaluate": evaluate}},
        "start-up": {"figures": {"help": figure("help", "cpu", 0.4)}},
    }
    results = json.loads(json.dumps({"cpu": of_cpu}))
    lines = results_table(results).splitlines()
    measured = "≥ 6 × | 6.25 × (6 … 6.5), 400 → 2,500 ✓ | ≥ 50 × | not measured"
    assert f"| {GOALS['evaluate'].work} | {measured} |" in lines
    assert "| `ddlabel --help` | ≤ 0.35 s | 0.4 s ✗ | – | not measured |" in lines
    rows = lines[: 2 + len(GOALS)]
    assert {row.count("|") for row in rows} == {6}
    assert "CPU: Some CPU, 2 cores" in lines[-1]


def test_a_figure_below_its_largest_value_is_reached():
    line = figure_line("gift-time", "cpu", figure("gift-time", "cpu", -1))
    assert line.endswith("wanted ≤ 2 %: reached")


def test_every_figure_but_those_of_another_benchmark_names_its_benchmark():
    others = {"share", "defaults-plain", "densify-memory", "help", "list", "info"}
    others |= {f"{loss}-{name}" for loss in ("gift", "cosine") for name in ("time", "memory")}
    others |= {f"bundle-{name}" for name in ("open", "read", "write")}
    of_variants = {name for name in BENCHMARKS if name.startswith(variants.PREFIX)}
    without_key = {"gift", "bundle", "start-up"} | of_variants
    assert set(GOALS) - others == set(BENCHMARKS) - without_key


def test_start_up_writes_results_that_the_table_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.__main__.machine_info", lambda _: MACHINE | RATES)
    out = tmp_path / "results.json"
    words = ["benchmarks", "start-up", "--rounds", "1", "--work", tmp_path, "--device", "cpu"]
    words += ["--out", out, "--set", "compile=off"]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    main()
    assert "ddlabel info FILE" in capsys.readouterr().out
    result = json.loads(out.read_text())["cpu"]["start-up"]
    assert result["given"] == {"compile": "off"}
    # Importing torch takes longer than Python alone.
    assert result["seconds"]["torch"][0] > result["seconds"]["python"][0] > 0
    monkeypatch.setattr("sys.argv", ["benchmarks", "table", str(out)])
    main()
    assert "`ddlabel info FILE`" in capsys.readouterr().out


def test_a_run_on_a_gpu_goes_on_after_a_part_that_fails_or_takes_too_long(tmp_path, monkeypatch):
    child = "import time; print('began', flush=True); time.sleep(60)"
    sleeps = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    result = {"cpu": {"works": {"figures": {}}}}
    works = f"import sys; open(sys.argv[1], 'w').write({json.dumps(result)!r})"
    programs_of = {"tests": "", "fails": "exit('no such thing')", "sleeps": sleeps, "works": works}

    def words(name, _, measured, *, is_dry):
        return [sys.executable, "-c", programs_of[name], str(measured)]

    monkeypatch.setattr(gpu, "_BENCHMARKS", ("fails", "sleeps", "works"))
    monkeypatch.setattr(gpu, "_SECONDS_TO_START", 0)
    monkeypatch.setattr(gpu, "_IMAGES", ())
    monkeypatch.setattr(gpu, "_words", words)
    out = tmp_path / "gpu.json"
    gpu.run_all(tmp_path, out, minutes=5 / 60, is_dry=True)
    results = json.loads(out.read_text())
    assert results["parts"]["fails"].startswith("failed")
    assert results["parts"]["sleeps"] == "stopped after 1 s"
    assert "no such thing" in results["outputs"]["fails"]
    assert "began" in results["outputs"]["sleeps"]
    for process in psutil.process_iter(["cmdline"]):
        assert child not in (process.info["cmdline"] or ())
    assert results["benchmarks"] == result


def test_inputs_that_travelled_are_repeated_on_the_machine_with_the_gpu(tmp_path, monkeypatch):
    images = gpu.Images("noise", "train", travel=3, needed=7)
    monkeypatch.setattr(gpu, "_IMAGES", (images,))
    bundle = noise_bundle(3, size=4)
    formats.write(str(tmp_path / images.file_name), bundle)
    gpu._enlarge(tmp_path, tmp_path / "whole")
    repeated = formats.read(str(tmp_path / "whole" / images.file_name)).images
    assert np.array_equal(repeated, bundle.images[[0, 1, 2, 0, 1, 2, 0]])


def test_a_step_of_training_does_not_add_to_the_gradients_of_the_step_before():
    case = defaults.Case(net="convnet-d1:width=4", size=8, batch=10, backward=True)
    body = case.body()
    step = defaults._step(case, body, body, "cpu")
    step()
    first = [parameter.grad for parameter in body.parameters()]
    step()
    assert all(map(torch.equal, first, (parameter.grad for parameter in body.parameters())))


def test_a_run_of_the_default_is_compared_with_the_best_choice(monkeypatch):
    # 10 steps of 10 images. Compiled steps take 1 s instead of 2, and compiling takes 15 s or 1 s.
    seconds = {"fp32": 2.0, "fp32 compiled": 1.0, "plain loop": 3.0}
    cold = {"fp32": 0.0, "fp32 compiled": 15.0}
    warm = {"fp32": 0.0, "fp32 compiled": 1.0}
    monkeypatch.setattr("ddlabel.training.runtime.has_bfloat16_units", lambda _: False)
    case = defaults.Case(net="convnet-d1:width=4", size=8, batch=10, backward=True)
    run = defaults.compare_run(case, "cpu", 100, seconds, cold, warm)
    assert (run["default"], run["best"], run["against_best"]) == ("fp32", "fp32", 1.0)
    assert run["against_best_warm"] == pytest.approx(20 / 11)
    assert run["plain"] == pytest.approx(30 / 20)
