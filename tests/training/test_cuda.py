"""What runs on a GPU only: stacks, captured graphs, precisions, and memory that runs out.

`tests/benchmarks/gpu.sh` runs these tests on a machine with one. The others skip them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest
import torch
from experts import train_small_expert
from networks import CPU, SHAPE, build_body, random_images
from samples import make_bundle
from students import easy_bundle, experiment, student_records, student_results
from torch import nn

from ddlabel.commands.densify import densify_images
from ddlabel.commands.labeling import label_images
from ddlabel.core.config import DensifyOptions, RelabelOptions, RuntimeOptions
from ddlabel.core.memory import is_out_of_memory
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import Checkpoint, Checkpoints
from ddlabel.training.memory import ChunkedFunction, release_memory
from ddlabel.training.runtime import Runtime
from ddlabel.training.stacking import stacked
from ddlabel.training.warning import warn_once

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]
CUDA = torch.device("cuda")
# Of float32 on another device, or in another order of sums.
ROUNDING = {"rtol": 1e-3, "atol": 1e-4}


def cuda_runtime(**options: str) -> Runtime:
    settings = {"device": "cuda", "compile": "off", "precision": "fp32"} | options
    return Runtime.of(RuntimeOptions(**settings))


class TestStudents:
    def test_students_side_by_side_are_what_they_are_alone(self):
        options = {"device": "cuda", "compile": "off", "seeds": 5, "augment": "flip"}
        alone = student_results(experiment(**options, stack=1.0))
        stack = student_results(experiment(**options, stack=5.0))
        for one, other in zip(chain(*alone), chain(*stack), strict=True):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
            assert one["accuracy"] == pytest.approx(other["accuracy"], abs=0.04)

    def test_auto_trains_them_side_by_side(self):
        records = student_records(experiment(device="cuda", compile="off", seeds=3))
        assert [record.cost["stack"] for record in records] == [3, 3, 3]

    def test_float32_students_are_those_of_a_cpu(self):
        options = {"compile": "off", "epochs": 3, "stack": 1.0}
        (of_cpu,) = student_results(experiment(device="cpu", **options))
        (of_gpu,) = student_results(experiment(device="cuda", **options))
        for one, other in zip(of_cpu, of_gpu, strict=True):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-2)

    @pytest.mark.parametrize("compiles", ["off", "on"])
    @pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
    def test_students_learn_in_every_precision(self, precision, compiles):
        options = {"device": "cuda", "precision": precision, "compile": compiles, "seeds": 2}
        # In float16 the first steps are left out, until the scale of the losses is found.
        records = student_records(experiment(**options, epochs=40))
        assert [record.result["accuracy"] for record in records] == [1.0, 1.0]
        assert {record.cost["precision"] for record in records} == {precision}


class TestCapturedGraphs:
    """`--compile` captures graphs: every replay writes to the same memory."""

    def test_logits_of_two_batches_are_both_kept(self):
        body = build_body().to(CUDA).eval()
        runtime = cuda_runtime(compile="on")
        forward = runtime.forward([body], num_images=1, shape=SHAPE)
        batches = [random_images(1, 8, *SHAPE).to(CUDA) + shift for shift in (0.0, 0.5, 1.0)]
        with torch.no_grad(), runtime.arithmetic():
            logits = [forward(batch) for batch in batches]
            for batch, kept in zip(batches, logits, strict=True):
                torch.testing.assert_close(kept, stacked([body])(batch), **ROUNDING)

    def test_training_steps_are_those_of_eager_mode(self):
        bodies = [build_body(seed=1).to(CUDA) for _ in range(2)]
        images = random_images(1, 8, *SHAPE).to(CUDA)
        losses = []
        for body, compiles in zip(bodies, ("off", "on"), strict=True):
            runtime = cuda_runtime(compile=compiles)
            forward = runtime.forward([body], num_images=1, shape=SHAPE, backward=True)
            optimizer = torch.optim.SGD(body.parameters(), lr=0.1)
            for _ in range(6):
                # As in `fit`: the gradients of the step before are there until the loss is known.
                with runtime.arithmetic():
                    loss = forward(images).square().mean()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                losses.append(loss.item())
        assert losses[6:] == pytest.approx(losses[:6], rel=1e-3)


@pytest.fixture
def labelled(tmp_path) -> tuple[Bundle, Checkpoints]:
    """A bundle and an expert of it."""
    real = make_bundle(images=30)
    run = train_small_expert(real, tmp_path / "expert", batch_size=10)
    return real, [Checkpoint(run, run.step_of("last"))]


class TestLabels:
    # Distances to float32 labels of a CPU, in deviations of the labels.
    @pytest.mark.parametrize(
        ("precision", "distance"),
        [("fp32", 1e-3), ("tf32", 0.02), ("fp16", 0.02), ("bf16", 0.1), ("auto", 0.1)],
    )
    def test_soft_labels_are_those_of_a_cpu(self, labelled, precision, distance):
        bundle, experts = labelled
        of_device = []
        for device, chosen in (("cpu", "fp32"), ("cuda", precision)):
            options = RelabelOptions(device=device, precision=chosen, compile="off")
            of_device.append(label_images(bundle, experts, options).labels("soft").decode())
        expected, labels = of_device
        assert np.abs(labels - expected).max() < distance * expected.std()

    @pytest.mark.parametrize("compiles", ["off", "on"])
    def test_dense_labels_are_those_of_a_cpu(self, labelled, compiles):
        bundle, experts = labelled
        of_device = []
        for device in ("cpu", "cuda"):
            options = DensifyOptions(
                views="grid:n=2,r=0.75", device=device, precision="fp32", compile=compiles
            )
            of_device.append(densify_images(bundle, experts, options).labels("dense").decode())
        expected, labels = of_device
        assert np.abs(labels - expected).max() < 1e-3 * expected.std()


class TestMemory:
    @pytest.fixture
    def little_memory(self) -> Iterator[None]:
        """A process that may use a little more of the GPU than it does: 256 MiB."""
        release_memory()
        _, total = torch.cuda.mem_get_info()
        wanted = torch.cuda.memory_reserved() + (256 << 20)
        torch.cuda.set_per_process_memory_fraction(wanted / total)
        yield
        torch.cuda.set_per_process_memory_fraction(1.0)
        release_memory()

    def test_chunks_that_do_not_fit_are_halved(self, little_memory, caplog):
        # An image puts out 64 · 64² float32 numbers: 1 MiB. A chunk has 512.
        layer = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        layer.weight.data = random_images(64, 3, 3, 3) / 5
        layer.to(CUDA)
        images = random_images(1024, 3, 64, 64).to(CUDA)
        sizes = []

        @torch.no_grad()
        def means(part):
            sizes.append(len(part))
            return layer(part).mean((2, 3))

        warn_once.cache_clear()
        with (
            caplog.at_level(logging.WARNING, logger="ddlabel"),
            cuda_runtime().arithmetic(),
        ):
            values = ChunkedFunction(means)(images)
        assert sizes[0] == 512
        assert max(sizes[-2:]) < 512
        assert len(caplog.records) == 1
        with torch.no_grad():
            expected = layer.to(CPU)(images[:4].cpu()).mean((2, 3))
        torch.testing.assert_close(values[:4].cpu(), expected, **ROUNDING)

    def test_the_error_of_an_exhausted_gpu_is_recognised(self, little_memory):
        with pytest.raises(RuntimeError) as caught:
            torch.empty(1 << 30, device=CUDA)
        assert is_out_of_memory(caught.value)

    def test_a_stack_that_does_not_fit_is_halved(self, little_memory, monkeypatch, caplog):
        monkeypatch.setattr(Runtime, "max_stack_size", lambda *_, **__: 16)
        warn_once.cache_clear()
        # A student takes 76 MiB in training, two take 189 MiB and four take 378 MiB.
        bundle = easy_bundle(images=600)
        options = {"net": "convnet-d1:width=128", "epochs": 1, "batch_size": 600}
        with caplog.at_level(logging.WARNING, logger="ddlabel"):
            records = student_records(
                experiment(bundle, device="cuda", compile="off", seeds=8, stack=8.0, **options)
            )
        assert len(records) == 8
        assert max(record.cost["stack"] for record in records) < 8
        assert "going on with" in caplog.text
