"""Devices, precisions, and that a runtime changes torch's settings around the work only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from experts import train_small_expert
from networks import CPU, SHAPE, build_body, build_network, cpu_runtime, random_images
from samples import make_bundle
from students import QUICK, easy_bundle, experiment, student_records, student_results
from torch import nn

from ddlabel.commands.evaluate.experiment import Experiment, settle
from ddlabel.commands.labeling import label_images
from ddlabel.core.config import (
    EvaluateOptions,
    RelabelOptions,
    RuntimeOptions,
)
from ddlabel.core.errors import ResourceError, UsageError
from ddlabel.data.expert_run import Checkpoint
from ddlabel.training import runtime as runtime_module
from ddlabel.training.memory import free_bytes
from ddlabel.training.runtime import Runtime, has_bfloat16_units, pick_device

CUDA = torch.device("cuda")
# This module is imported before the session pretends another machine: `--pretend-bf16`.
REAL_HAS_UNITS = has_bfloat16_units


def matmul_settings() -> tuple[str, bool, bool]:
    cudnn = torch.backends.cudnn
    return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.deterministic


@pytest.fixture
def changed_settings() -> Iterator[tuple[str, bool, bool]]:
    """Torch's settings, which are neither its defaults nor those of any precision."""
    before = matmul_settings()
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    yield matmul_settings()
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


class TestDevices:
    def test_a_named_device_is_picked(self):
        assert pick_device("cpu") == CPU

    @pytest.mark.parametrize("has_gpu", [True, False])
    def test_auto_is_a_gpu_where_there_is_one(self, monkeypatch, has_gpu):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
        assert pick_device("auto").type == ("cuda" if has_gpu else "cpu")

    def test_an_unknown_name_is_refused(self):
        with pytest.raises(UsageError, match="--device"):
            pick_device("gpu")

    def test_a_device_that_is_not_there_is_refused(self):
        with pytest.raises(ResourceError, match="--device"):
            pick_device("cuda:99")

    def test_a_full_gpu_is_not_said_to_be_missing(self, monkeypatch):
        def allocate(*_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr(torch, "empty", allocate)
        with pytest.raises(ResourceError, match="other programs have taken its memory"):
            pick_device("cuda")


class TestPrecision:
    @pytest.mark.parametrize(("has_units", "expected"), [(True, "bf16"), (False, "fp32")])
    @pytest.mark.parametrize("compiles", ["on", "off"])
    @pytest.mark.parametrize("backward", [True, False])
    def test_auto_is_bfloat16_where_there_are_units(
        self, monkeypatch, has_units, expected, compiles, backward
    ):
        monkeypatch.setattr(runtime_module, "has_bfloat16_units", lambda _: has_units)
        runtime = cpu_runtime(precision="auto", compile=compiles)
        work = runtime.work(build_body(), num_images=1, shape=SHAPE, backward=backward)
        assert work[:2] == (compiles == "on", expected)

    @pytest.mark.parametrize(
        ("device", "precision", "expected"),
        [(CPU, "auto", "fp32"), (CPU, "bf16", "bf16"), (CUDA, "auto", "bf16")],
    )
    def test_networks_with_depthwise_convolutions_train_in_float32_on_a_cpu(
        self, monkeypatch, device, precision, expected
    ):
        monkeypatch.setattr(runtime_module, "has_bfloat16_units", lambda _: True)
        monkeypatch.setattr(runtime_module, "pick_device", lambda _: device)
        runtime = cpu_runtime(precision=precision, compile="off")
        body = nn.Sequential(nn.Conv2d(3, 3, kernel_size=1, groups=3))
        for backward, wanted in ((True, expected), (False, "bf16")):
            work = runtime.work(body, num_images=1, shape=(3, 8, 8), backward=backward)
            assert work.precision == wanted

    def test_records_name_the_precision_that_was_used(self, monkeypatch):
        monkeypatch.setattr(runtime_module, "has_bfloat16_units", lambda _: True)
        settled = experiment(precision="auto", compile="off", seeds=1)
        assert [record.cost["precision"] for record in student_records(settled)] == ["bf16"]

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_a_named_precision_is_taken_with_and_without_units(self, monkeypatch, precision):
        for has_units in (True, False):
            monkeypatch.setattr(runtime_module, "has_bfloat16_units", lambda _, u=has_units: u)
            assert cpu_runtime(precision=precision).precision == precision

    @pytest.mark.parametrize("unit", ["amx_bf16", "avx512_bf16"])
    @pytest.mark.parametrize("is_there", [True, False])
    def test_units_of_a_cpu_are_those_that_torch_names(self, monkeypatch, unit, is_there):
        capabilities = {"amx_bf16": False, "avx512_bf16": False, unit: is_there}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
        assert REAL_HAS_UNITS(CPU) == is_there

    def test_a_cpu_of_which_torch_cannot_tell_has_no_units(self, monkeypatch):
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
        assert not REAL_HAS_UNITS(CPU)

    @pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True)])
    def test_units_of_a_gpu_come_with_its_compute_capability(
        self, monkeypatch, capability, expected
    ):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        assert REAL_HAS_UNITS(CUDA) == expected

    @pytest.mark.parametrize("precision", ["tf32", "fp16"])
    def test_a_precision_that_a_cpu_has_not_is_refused(self, precision):
        with pytest.raises(ResourceError, match="--precision"):
            cpu_runtime(precision=precision)

    def test_bfloat16_logits_are_those_of_float32_to_three_digits(self):
        body = build_body()
        images = random_images(1, 4, *SHAPE)
        exact = cpu_runtime(precision="fp32").forward([body], num_images=1, shape=SHAPE)(images)
        rounded = cpu_runtime(precision="bf16").forward([body], num_images=1, shape=SHAPE)(images)
        assert rounded.dtype == torch.float32
        assert 0 < (rounded - exact).abs().max() < 0.05 * exact.abs().max()

    @pytest.mark.parametrize(
        ("norm", "is_together"),
        [("instance", False), ("group", False), ("layer", False), ("batch", True), ("none", True)],
    )
    def test_channels_lie_together_in_bfloat16_unless_a_norm_of_maps_is_slower_then(
        self, norm, is_together
    ):
        body = build_network(f"convnet-d1:norm={norm}", size=8).body
        cpu_runtime(precision="bf16").forward([body], num_images=1, shape=(3, 8, 8))
        weights = body[0].weight
        assert weights.is_contiguous(memory_format=torch.channels_last) == is_together
        assert weights.is_contiguous() != is_together

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_maps_of_images_with_channels_together_are_laid_out_as_others(self, precision):
        body = build_network("convnet-d1", size=8).body
        forward = cpu_runtime(precision=precision).forward([body], num_images=1, shape=(3, 8, 8))
        layouts = []
        body[0].register_forward_hook(lambda _, __, maps: layouts.append(maps.is_contiguous()))
        images = random_images(2, 8, 8, 3).permute(0, 3, 1, 2)
        assert not images.is_contiguous()
        forward(images[None])
        assert layouts == [True]

    def test_a_student_in_bfloat16_learns(self):
        (results,) = student_results(experiment(precision="bf16"))
        assert [result["accuracy"] for result in results] == [1.0, 1.0]

    def test_options_for_other_work_on_the_same_machine_keep_device_and_precision(self):
        options = EvaluateOptions(
            **QUICK | {"device": "cpu", "compile": "off", "precision": "bf16"}
        )
        assert options.runtime_settings == {"device": "cpu", "compile": "off", "precision": "bf16"}
        bundle = easy_bundle()
        settled = settle(Experiment.of(bundle, test=bundle, options=options, digests={}))
        assert {record.cost["precision"] for record in student_records(settled)} == {"bf16"}


class TestMatmulPrecision:
    @pytest.mark.parametrize("precision", ["auto", "fp32", "tf32", "bf16", "fp16"])
    def test_a_new_runtime_changes_no_setting(self, monkeypatch, changed_settings, precision):
        monkeypatch.setattr(runtime_module, "pick_device", lambda _: CUDA)
        monkeypatch.setattr(runtime_module, "has_bfloat16_units", lambda _: True)
        runtime = Runtime.of(RuntimeOptions(device="cuda", precision=precision))
        assert runtime.device == CUDA
        assert matmul_settings() == changed_settings

    @pytest.mark.parametrize(
        ("precision", "inside"),
        [
            ("fp32", ("highest", False, True)),
            ("tf32", ("high", True, True)),
            ("bf16", ("highest", False, True)),
            ("fp16", ("highest", False, True)),
        ],
    )
    def test_tensorfloat32_is_used_in_the_block_if_asked_for(
        self, changed_settings, precision, inside
    ):
        runtime = Runtime(device=CUDA, precision=precision, compile="off")
        with runtime.arithmetic():
            assert matmul_settings() == inside
        assert matmul_settings() == changed_settings

    def test_settings_are_restored_after_an_error(self, changed_settings):
        runtime = Runtime(device=CUDA, precision="tf32", compile="off")
        with pytest.raises(KeyboardInterrupt), runtime.arithmetic():
            raise KeyboardInterrupt
        assert matmul_settings() == changed_settings

    def test_blocks_nest(self, changed_settings):
        students = Runtime(device=CUDA, precision="tf32", compile="off")
        teacher = Runtime(device=CUDA, precision="fp32", compile="off")
        with students.arithmetic():
            with teacher.arithmetic():
                assert matmul_settings() == ("highest", False, True)
            assert matmul_settings() == ("high", True, True)

    def test_a_cpu_has_no_such_setting(self, changed_settings):
        with cpu_runtime().arithmetic():
            assert matmul_settings() == changed_settings


class TestWorkRunsInItsPrecision:
    """Convolutions and gradients of every kind of work are computed inside the block."""

    @pytest.fixture
    def work(self, monkeypatch) -> dict[str, list[bool]]:
        """For each convolution and each gradient whether it was computed inside a block."""
        seen: dict[str, list[bool]] = {"convolution": [], "gradient": []}
        num_blocks = 0

        @contextmanager
        def block(runtime: Runtime) -> Iterator[None]:
            nonlocal num_blocks
            num_blocks += 1
            yield
            num_blocks -= 1

        convolve = nn.Conv2d.forward
        backward = torch.Tensor.backward

        def spy_on_convolution(layer, images):
            seen["convolution"].append(num_blocks > 0)
            return convolve(layer, images)

        def spy_on_gradient(tensor, *words, **options):
            seen["gradient"].append(num_blocks > 0)
            return backward(tensor, *words, **options)

        monkeypatch.setattr(Runtime, "arithmetic", block)
        monkeypatch.setattr(nn.Conv2d, "forward", spy_on_convolution)
        monkeypatch.setattr(torch.Tensor, "backward", spy_on_gradient)
        return seen

    def test_experts_and_their_labels(self, work, tmp_path):
        real = make_bundle(images=6)
        run = train_small_expert(real, tmp_path / "expert", batch_size=3)
        assert len(work["gradient"]) == 2
        num_convolutions = len(work["convolution"])
        options = RelabelOptions(epoch="last", compile="off", precision="fp32")
        label_images(real, [Checkpoint(run, run.step_of("last"))], options)
        assert len(work["convolution"]) > num_convolutions
        assert all(work["convolution"])
        assert all(work["gradient"])

    @pytest.mark.parametrize("options", [{}, {"continual": 2}, {"select": "val"}])
    def test_students(self, work, options):
        settled = experiment(epochs=2, seeds=1, **options)
        work["convolution"].clear()  # one step was tried when the experiment was settled
        work["gradient"].clear()
        student_results(settled)
        assert work["gradient"]
        assert all(work["convolution"])
        assert all(work["gradient"])


class TestMemory:
    def test_the_stack_is_what_the_free_memory_holds(self, monkeypatch):
        # 64 pixels and 3 logits for each of 10 images, twice; 64·3 weights and 3 biases, six times:
        # 2·67·10 + 6·195 = 2510 numbers of 4 bytes.
        body = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
        for free, expected in ((4 * 2510 - 1, 0), (4 * 2510, 1), (100 * 2510, 25)):
            monkeypatch.setattr(runtime_module, "free_bytes", lambda _, free=free: free)
            assert cpu_runtime().max_stack_size(body, batch_size=10, shape=SHAPE) == expected

    def test_free_memory_is_a_part_of_the_memory_of_the_machine(self):
        all_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        assert 0 < free_bytes(CPU) < all_bytes
