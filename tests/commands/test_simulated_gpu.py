"""What runs on the simulated GPU gives the numbers of the CPU, and forgets no tensor there."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from experts import SMALL, StopAfter, read_files, train_small_expert
from networks import SHAPE, build_body, random_images
from samples import make_bundle
from simulated_gpu import CPU, GPU, simulated_gpu
from students import easy_bundle, experiment, student_records, student_results

from ddlabel.commands.densify import densify_images
from ddlabel.commands.doctor import doctor
from ddlabel.commands.labeling import label_images
from ddlabel.commands.learn import learn
from ddlabel.commands.learners import learners
from ddlabel.commands.select import select
from ddlabel.commands.selectors import selectors
from ddlabel.commands.train_expert import train_expert
from ddlabel.core.config import DensifyOptions, RelabelOptions, RuntimeOptions
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import Checkpoint, ExpertRun
from ddlabel.methods.augmentations import augmentations
from ddlabel.methods.losses import losses
from ddlabel.methods.mixing import mixes
from ddlabel.methods.optimizers import optimizers
from ddlabel.methods.schedules import schedules
from ddlabel.training import runtime
from ddlabel.training.memory import free_bytes
from ddlabel.training.runtime import Runtime

ON_GPU = {"device": "cuda", "precision": "fp32", "compile": "off"}
ON_CPU = ON_GPU | {"device": "cpu"}


class TestSimulation:
    """It refuses what a GPU refuses."""

    def test_tensors_of_two_devices_do_not_mix(self):
        with simulated_gpu():
            images = torch.ones(3, device="cuda")
            assert images.device == GPU
            with pytest.raises(RuntimeError, match=r"aten::add: .* 1 are on cuda:0 and 1 on cpu"):
                images + torch.ones(3)
            with pytest.raises(RuntimeError, match="same device"):
                torch.cat([images, torch.ones(1)])
            with pytest.raises(RuntimeError, match="same device"):
                torch.ones(3)[images.long()]

    def test_it_takes_what_a_gpu_takes(self):
        with simulated_gpu():
            images = torch.arange(3.0).to("cuda")
            assert (images + torch.tensor(1.0)).tolist() == [1, 2, 3]
            assert images[torch.tensor([2, 0])].tolist() == [2, 0]
            images[[0, 1]] = 7
            assert images.copy_(images.cpu() + 1).tolist() == [8, 8, 3]

    def test_arrays_and_generators_are_of_one_device(self):
        with simulated_gpu():
            images = torch.ones(3, device="cuda")
            for to_numpy in (torch.Tensor.numpy, np.asarray):
                with pytest.raises(TypeError, match=r"use .cpu\(\) first"):
                    to_numpy(images)
            assert images.cpu().numpy().sum() == 3
            with pytest.raises(RuntimeError, match="generator"):
                torch.rand(3, device="cuda", generator=torch.Generator())
            with pytest.raises(RuntimeError, match="generator"):
                torch.rand(3, generator=torch.Generator("cuda"))

    def test_gradients_go_back_to_the_device_that_they_came_from(self):
        with simulated_gpu():
            on_cpu = torch.ones(3, requires_grad=True)
            on_gpu = on_cpu.to("cuda")
            on_gpu.retain_grad()
            (2 * on_gpu).sum().backward()
            assert (on_gpu.grad.device, on_cpu.grad.device) == (GPU, CPU)
            assert on_cpu.grad.tolist() == [2, 2, 2]

    def test_nothing_is_left_of_it(self):
        with simulated_gpu():
            assert torch.cuda.is_available()
        assert torch.Generator().device == CPU
        assert torch.ones(3).device == CPU
        assert not torch.__future__.get_overwrite_module_params_on_conversion()


OPTIONS = [
    *({"labels": "soft", "loss": loss} for loss in losses),
    *({"optimizer": optimizer} for optimizer in optimizers),
    *({"schedule": schedule} for schedule in schedules),
    *({"augment": augmentation} for augmentation in augmentations),
    *({"labels": "soft", "loss": "soft-ce", "mix": mix} for mix in mixes),
    *({"net": net} for net in ("convnet-d1:width=8,norm=batch", "vit:width=16,depth=1,heads=2")),
    {"labels": "soft", "loss": "soft-ce", "ema": 0.9},
    {"select": "val", "holdout": 0.3},
    {"confusion": True, "curve": True, "reliability": True},
]
STACKED = [
    {"net": "convnet-d1:width=8,norm=batch"},
    {"labels": "soft", "loss": "gift", "mix": "cutmix"},
    {"augment": "dsa", "ema": 0.9},
]


def name_of(options: dict) -> str:
    return " ".join(map(str, options.values()))


def check_students(**options) -> None:
    """Check that students of the simulated GPU are those of a CPU."""
    options = {"epochs": 2, "batch_size": 20, "compile": "off"} | options
    (expected,) = student_results(experiment(device="cpu", **options))
    with simulated_gpu():
        (results,) = student_results(experiment(device="cuda", **options))
    for ours, theirs in zip(results, expected, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["accuracy"] == pytest.approx(theirs["accuracy"], abs=0.04)


@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
def test_students_are_those_of_a_cpu(options):
    check_students(stack=1.0, **options)


@pytest.mark.parametrize("options", STACKED, ids=name_of)
def test_students_side_by_side_are_those_of_a_cpu(options):
    check_students(stack=2.0, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> ExpertRun:
    """An expert of easy images, with two checkpoints."""
    folder = tmp_path_factory.mktemp("runs")
    return train_small_expert(easy_bundle(), folder / "expert", epochs=2, device="cpu")


def checkpoint(run: ExpertRun) -> list[Checkpoint]:
    return [Checkpoint(run, run.step_of("last"))]


def dense_bundle(run: ExpertRun, views: str = "grid:n=2,r=0.75", device=ON_CPU) -> Bundle:
    options = DensifyOptions(views=views, **device)
    return densify_images(easy_bundle(), checkpoint(run), options)


class TestExperts:
    @pytest.mark.parametrize(
        "options",
        [{}, {"zca": True}, {"optimizer": "sgd:momentum=0.9"}, {"precision": "fp16"}],
        ids=name_of,
    )
    def test_they_are_trained(self, options, tmp_path):
        options = SMALL | ON_GPU | {"augment": "rand-augment"} | options
        test = make_bundle(images=9)
        with simulated_gpu():
            (run,) = train_expert(make_bundle(images=30), tmp_path / "run", test=test, **options)
        (epoch,) = run.metrics()
        assert 0 <= epoch["test_accuracy"] <= 1

    def test_a_run_goes_on(self, tmp_path):
        options = SMALL | ON_GPU | {"optimizer": "sgd:momentum=0.9"}
        real = make_bundle(images=30)
        with simulated_gpu():
            train_expert(real, tmp_path / "run", **options)
            (longer,) = train_expert(real, tmp_path / "run", **options | {"epochs": 2})
            (fresh,) = train_expert(real, tmp_path / "fresh", **options | {"epochs": 2})
        for ours, theirs in zip(longer.weights(6).values(), fresh.weights(6).values(), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_a_killed_run_in_fp16_goes_on_with_its_scale_of_the_loss(self, tmp_path, monkeypatch):
        # The gradients of the first steps overflow, and each such step halves the scale.
        scaler = partial(torch.amp.GradScaler, "cuda", init_scale=2.0**40)
        monkeypatch.setattr(Runtime, "loss_scaler", lambda _: scaler())
        options = SMALL | ON_GPU | {"precision": "fp16", "epochs": 12}
        real = make_bundle(images=30)
        with simulated_gpu():
            train_expert(real, tmp_path / "whole", **options)
            with pytest.raises(KeyboardInterrupt):
                train_expert(real, tmp_path / "killed", **options, reporter=StopAfter(8))
            train_expert(real, tmp_path / "killed", **options)
        assert read_files(tmp_path / "killed") == read_files(tmp_path / "whole")


class TestLabels:
    @pytest.mark.parametrize("views", [None, "grid:n=2,r=0.75", "random:count=2", "fkd:count=2"])
    def test_they_are_those_of_a_cpu(self, views, run):
        labels = []
        for device in (ON_CPU, ON_GPU):
            with simulated_gpu():
                if views is None:
                    options = RelabelOptions(**device)
                    labelled = label_images(easy_bundle(), checkpoint(run), options)
                else:
                    labelled = dense_bundle(run, views, device)
            labels.append(labelled.labels("soft" if views is None else "dense").decode())
        np.testing.assert_allclose(*labels, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("dense_batches", ["mix", "sum", "mean"])
    @pytest.mark.parametrize("free_memory", [1 << 30, 4000])
    def test_students_learn_labels_of_views(self, dense_batches, free_memory, run):
        dense = dense_bundle(run, "fkd:count=2")
        options = {"labels": "dense", "dense_batches": dense_batches, "batch_size": 20}
        options |= {"epochs": 2, "compile": "off", "loss": "soft-ce", "stack": 1.0}
        expected = student_results(experiment(dense, device="cpu", **options))
        with simulated_gpu(free_memory):
            results = student_results(experiment(dense, device="cuda", **options))
        for ours, theirs in zip(results[0], expected[0], strict=True):
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)

    @pytest.mark.parametrize("options", [{}, {"mix": "cutmix"}, {"refine_teacher": 0.1}])
    def test_students_learn_labels_of_a_teacher(self, options, run):
        options = {"labels": "online", "teacher": (str(run.folder),), "epochs": 2} | options
        with simulated_gpu():
            cell = experiment(**ON_GPU, **options)
            records = student_records(replace(cell, teacher=checkpoint(run)))
        assert all(np.isfinite(record.result["loss"]) for record in records)


@pytest.mark.parametrize("method", [*selectors])
def test_the_images_that_are_selected_are_those_of_a_cpu(method, run):
    options = {"ipc": 2, "method": method}
    if method == "rded":
        options["method"] = "rded:factor=2,images=9"
    if method != "random":
        options |= {"expert": [run]}
    selected = []
    for device in (ON_CPU, ON_GPU):
        with simulated_gpu():
            selected.append(select(easy_bundle(60), **options, **device))
    on_cpu, on_gpu = selected
    np.testing.assert_array_equal(on_cpu.images, on_gpu.images)


@pytest.mark.parametrize("augment", ["none", "rand-augment"])
@pytest.mark.parametrize("method", [*learners])
def test_labels_are_learned(method, augment, run):
    options = {"iterations": 2, "batch_size": 6, "augment": augment}
    options |= {
        "bptt": {
            "method": "bptt:steps=3,window=2,real-batch=9",
            "real": easy_bundle(60),
            "net": "convnet-d1:width=4",
        },
        "mtt": {"method": "mtt:steps=2", "expert": [run]},
    }[method]
    learned = []
    for device in ("cpu", "cuda"):
        with simulated_gpu():
            learned.append(learn(easy_bundle(6), device=device, **options))
    on_cpu, on_gpu = (bundle.labels("soft").decode() for bundle in learned)
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-3, atol=1e-4)


def test_a_bundle_is_examined(run):
    with simulated_gpu():
        diagnosis = doctor(
            easy_bundle(60), expert=run.folder, test=easy_bundle(60, seed=1), **ON_GPU
        )
    assert {"class-order", "pixel-space"} <= set(diagnosis.passed)


class TestRuntime:
    def test_memory_that_torch_keeps_is_free(self):
        with simulated_gpu(free_memory=1000), pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, "memory_reserved", lambda _: 700)
            patch.setattr(torch.cuda, "memory_allocated", lambda _: 200)
            assert free_bytes(GPU) == 1500

    def test_compiled_networks_are_tested_uncompiled(self, monkeypatch):
        monkeypatch.setattr(
            runtime, "compiled", lambda forward, *_, **__: lambda images: "compiled"
        )
        with simulated_gpu():
            chosen = Runtime.of(RuntimeOptions(**ON_GPU | {"compile": "on"}))
            body = build_body().to(GPU)
            images = random_images(1, 8, *SHAPE).to(GPU)
            forward = chosen.forward([body], num_images=1, shape=SHAPE, backward=True)
            assert forward(images) == "compiled"
            with torch.no_grad():
                torch.testing.assert_close(forward(images)[0].cpu(), body(images[0]).cpu())
            label = chosen.forward([body], num_images=1, shape=SHAPE)
            with torch.no_grad():
                assert label(images) == "compiled"

    def test_records_name_the_gpu(self):
        with simulated_gpu():
            (record,) = student_records(experiment(**ON_GPU, seeds=1))
        assert record.cost["gpu"] == "simulated"
