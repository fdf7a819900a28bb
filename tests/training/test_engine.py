"""The engine: precision, compilation, and students side by side that are what they are alone."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from samples import make_bundle, with_arrays
from students import QUICK, easy_bundle, experiment, student_results
from torch import nn

from ddlabel.commands.evaluate import grid as evaluate_step
from ddlabel.commands.evaluate.experiment import Experiment, settle
from ddlabel.commands.evaluate.grid import evaluate
from ddlabel.core.config import EvaluateOptions, RuntimeOptions
from ddlabel.core.errors import ResourceError, UsageError
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels import views
from ddlabel.methods.nets import build, nets
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training import runtime as device_module
from ddlabel.training.cost import activations, flops
from ddlabel.training.runtime import Runtime, pick_device, stackable, stacked

CPU = torch.device("cpu")
# Taken before the session pretends another machine (`--pretend-bf16`).
REAL_HAS_UNITS = device_module.has_bfloat16_units
PREPARE = normalisation([0.5], [0.25])


def body(spec: str = "convnet-d1:width=8", seed: int = 0, size: int = 8) -> nn.Module:
    return build(spec, PREPARE, channels=1, size=size, num_classes=3, seed=seed).body


def machine(**options: str) -> Runtime:
    return Runtime.of(
        RuntimeOptions(**{"device": "cpu", "compile": "off", "precision": "fp32"} | options)
    )


def close(first: list[list[dict]], second: list[list[dict]]) -> None:
    """Students' losses agree within the tolerance of float32, their predictions in all but a few images."""
    for a, b in zip(chain(*first), chain(*second), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-4)
        assert a["accuracy"] == pytest.approx(b["accuracy"], abs=0.04)


class TestStack:
    @pytest.mark.parametrize(
        "spec", ["convnet-d1:width=8", "convnet-d2:norm=batch,width=4", "resnet18-modified"]
    )
    def test_its_logits_gradients_and_running_means_are_those_of_each_network(self, spec):
        alone, together = ([body(spec, seed) for seed in range(3)] for _ in range(2))
        images = torch.randn(3, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        run = stacked(together)
        logits = run(images)
        logits.square().sum().backward()
        for network, own, x, expected in zip(together, alone, images, logits, strict=True):
            out = own(x)
            out.square().sum().backward()
            torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
            for (name, p), q in zip(network.named_parameters(), own.parameters(), strict=True):
                torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-3, msg=name)
            for (name, p), q in zip(network.named_buffers(), own.buffers(), strict=True):
                torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5, msg=name)

    def test_students_of_several_seeds_rates_and_losses_are_what_they_are_alone(self):
        variants = [
            {"loss": "ce", "optimizer": "adam:lr=0.01"},
            {"loss": "cosine", "optimizer": "sgd:lr=0.1"},
            {"loss": "ce", "optimizer": "lion", "schedule": "cosine", "augment": "flip"},
        ]
        alone = [experiment(**variant, batch_size=7) for variant in variants]
        stack = [replace(each, options=replace(each.options, stack=4.0)) for each in alone]
        close(student_results(*stack), student_results(*alone))

    def test_how_many_go_side_by_side_is_recorded(self):
        grid = [experiment(stack=2.0, loss=loss) for loss in ("ce", "cosine")]
        costs = [record["cost"]["stack"] for _, _, record in evaluate(grid, set())]
        assert costs == [2, 2, 2, 2]
        assert [r["cost"]["stack"] for _, _, r in evaluate([experiment(stack=3.0)], set())] == [
            2,
            2,
        ]

    def test_students_of_another_kind_go_by_themselves(self):
        grid = [
            experiment(stack=8.0),
            experiment(stack=8.0, net="convnet-d2"),
            experiment(stack=8.0, epochs=3),
        ]
        found = [(number, record["cost"]["stack"]) for number, _, record in evaluate(grid, set())]
        assert sorted(found) == [(0, 2), (0, 2), (1, 2), (1, 2), (2, 2), (2, 2)]
        for options in ({"continual": 2}, {"select": "val"}, {"net": "alexnet", "epochs": 1}):
            bundle = make_bundle(images=9, size=32) if "net" in options else easy_bundle()
            ((*_, record), _) = evaluate([experiment(bundle, stack=8.0, **options)], set())
            assert record["cost"]["stack"] == 1

    @pytest.mark.parametrize(
        "options",
        [
            {"ema": 0.5},
            {"curve": True},
            {"confusion": True},
            {"select": "best-on-test", "checks": 3},
            {"mix": "cutmix"},
        ],
    )
    def test_what_is_seen_of_students_is_the_same(self, options):
        bundle = easy_bundle()
        labels = {"labels": "soft"} if "mix" in options else {}
        alone, stack = (
            student_results(experiment(bundle, **options, **labels, stack=size))
            for size in (1.0, 2.0)
        )
        close(stack, alone)
        for a, b in zip(alone[0], stack[0], strict=True):
            assert a.keys() == b.keys()
            if "curve" in options:
                assert a["curve"]["gradient_norm"] == pytest.approx(
                    b["curve"]["gradient_norm"], rel=1e-3
                )

    def test_layers_that_draw_numbers_are_not_stacked(self):
        assert stackable(body())
        assert not stackable(body("alexnet", size=32))

    def test_a_stack_too_large_for_memory_is_refused_or_made_smaller(self, monkeypatch):
        monkeypatch.setattr(Runtime, "room", lambda *_, **__: 1)
        with pytest.raises(
            ResourceError, match="--stack is 5: there is memory for 1 such students"
        ):
            student_results(experiment(stack=5.0, seeds=5))

    def test_a_stack_that_runs_out_of_memory_is_halved(self, monkeypatch):
        sizes, run = [], evaluate_step.run

        def tight(bench, stack, progress):
            sizes.append(len(stack))
            if len(stack) > 2:
                raise torch.OutOfMemoryError("no room")
            return run(bench, stack, progress)

        alone = student_results(experiment(seeds=5))
        monkeypatch.setattr(evaluate_step, "run", tight)
        close(student_results(experiment(seeds=5, stack=5.0)), alone)
        assert sizes == [5, 2, 2, 1]

    def test_auto_is_one_on_a_cpu(self):
        assert [record["cost"]["stack"] for _, _, record in evaluate([experiment()], set())] == [
            1,
            1,
        ]


class TestPrecision:
    def test_auto_is_float32_for_labels_and_bfloat16_for_training_where_there_are_units(
        self, monkeypatch
    ):
        assert Runtime.of(RuntimeOptions(device="cpu"), training=False).precision == "fp32"
        for units, expected in ((True, "bf16"), (False, "fp32")):
            monkeypatch.setattr(device_module, "has_bfloat16_units", lambda _, units=units: units)
            assert machine(precision="auto").precision == expected

    @pytest.mark.parametrize("unit", ["amx_bf16", "avx512_bf16"])
    @pytest.mark.parametrize("there", [True, False])
    def test_units_of_a_cpu_are_what_torch_says(self, monkeypatch, unit, there):
        capabilities = {"amx_bf16": False, "avx512_bf16": False, unit: there}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
        assert REAL_HAS_UNITS(CPU) == there

    def test_bfloat16_logits_are_those_of_float32_to_three_digits(self):
        network, images = (
            body(),
            torch.randn(1, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        )
        exact = machine(precision="fp32").forward([network], images=1, shape=(1, 8, 8))(images)
        rough = machine(precision="bf16").forward([network], images=1, shape=(1, 8, 8))(images)
        assert rough.dtype == torch.float32
        assert 0 < (rough - exact).abs().max() < 0.05 * exact.abs().max()

    def test_a_student_in_bfloat16_learns(self):
        ((a, b),) = student_results(experiment(precision="bf16"))
        assert [a["accuracy"], b["accuracy"]] == [1.0, 1.0]

    @pytest.mark.parametrize("precision", ["tf32", "fp16"])
    def test_what_a_cpu_has_not_is_refused(self, precision):
        with pytest.raises(
            ResourceError, match=f"--precision {precision} needs a CUDA device and this is cpu"
        ):
            machine(precision=precision)

    def test_devices(self):
        assert pick_device("cpu") == CPU
        with pytest.raises(UsageError, match="expected auto, cpu, cuda or cuda:N"):
            pick_device("gpu")


class TestCompile:
    def test_a_compiled_stack_is_the_eager_one(self):
        networks = [body(seed=seed) for seed in range(2)]
        images = torch.randn(2, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        compiled = machine(compile="on").forward(networks, images=1, shape=(1, 8, 8), backward=True)
        torch.testing.assert_close(
            compiled(images), stacked(networks)(images), rtol=1e-4, atol=1e-5
        )

    def test_auto_compiles_long_work_only(self, monkeypatch):
        taken = []
        monkeypatch.setattr(Runtime, "_compiled", lambda _, run: taken.append(run) or run)
        network = body()
        for images, expected in ((1000, 0), (10**9, 1)):
            machine(compile="auto").forward(
                [network], images=images, shape=(1, 8, 8), backward=True
            )
            assert len(taken) == expected

    def test_without_a_compiler_auto_stays_eager_and_says_so_once(self, monkeypatch, caplog):
        monkeypatch.setattr(device_module.shutil, "which", lambda _: None)
        device_module.say_once.cache_clear()
        images = torch.zeros(1, 2, 1, 8, 8)
        with caplog.at_level(logging.WARNING, logger="ddlabel"):
            for _ in range(2):
                network = body()
                run = machine(compile="auto").forward([network], images=10**9, shape=(1, 8, 8))
                torch.testing.assert_close(run(images), stacked([network])(images))
        assert [record.message for record in caplog.records] == [
            "torch.compile cannot be used, and networks run slower: there is no C++ compiler, or Python's headers are "
            "missing"
        ]
        with pytest.raises(ResourceError, match="--compile on: there is no C"):
            machine(compile="on").forward([network], images=1, shape=(1, 8, 8))

    def test_a_compiler_that_fails_is_left_for_eager(self, monkeypatch, caplog):
        from torch._dynamo.exc import TorchDynamoException

        def broken(*_, **__):
            def run(_):
                raise TorchDynamoException("g++ says no\nand more")

            return run

        monkeypatch.setattr(torch, "compile", broken)
        device_module.say_once.cache_clear()
        network, images = body(), torch.zeros(1, 2, 1, 8, 8)
        with caplog.at_level(logging.WARNING, logger="ddlabel"):
            run = machine(compile="auto").forward([network], images=10**9, shape=(1, 8, 8))
            for _ in range(2):
                torch.testing.assert_close(run(images), stacked([network])(images))
        assert [record.message.partition(": ")[2] for record in caplog.records] == ["g++ says no"]


class TestCost:
    def test_bundles_of_the_same_options_cost_what_their_views_do(self):
        def with_views(n: int) -> Experiment:
            plain = easy_bundle()
            boxes = views.grid(len(plain), 8, 8, 0, n=n, r=0.625).boxes
            labels = np.zeros((len(plain), n * n, 3), np.float32)
            bundle = with_arrays(
                plain, dense_labels=labels, dense_boxes=boxes, dense=LabelMeta(space="logits")
            )
            settled = experiment(
                bundle, labels="dense", dense_batches="sum", loss="soft-ce", epochs=1, seeds=1
            )
            return replace(settled, digests={"bundle": str(n), "test": "t"})

        cells = [with_views(1), with_views(2)]
        one, four = (record["cost"]["flops"] for _, _, record in evaluate(cells, set()))
        assert four / one == (1 + 4) / (1 + 1)

    def test_activations_of_a_convnet_are_countable_by_hand(self):
        # Convolution, norm and ReLU at 8 × 8, pooling and flattening at 4 × 4, three classes; width 8.
        assert activations(body(), (1, 8, 8)) == (8 * (3 * 64 + 2 * 16) + 3, 6)

    def test_counting_leaves_the_network_as_it_was(self):
        network = body("convnet-d1:norm=batch")
        before = copy.deepcopy(network.state_dict())
        activations(network, (1, 8, 8))
        flops(network, (1, 8, 8), backward=True)
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [each for each in nets if each != "timm:NAME"])
def test_every_network_stacks_or_says_that_it_does_not(name):
    networks = [
        build(
            name, normalisation([0.5] * 3, [0.25] * 3), channels=3, size=64, num_classes=3, seed=s
        )
        for s in (0, 1)
    ]
    bodies = [network.body.eval() for network in networks]
    if not stackable(bodies[0]):
        assert not name.startswith(("convnet", "resnet"))
        return
    images = torch.randn(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.stack([each(x) for each, x in zip(bodies, images, strict=True)])
        torch.testing.assert_close(stacked(bodies)(images), expected, rtol=1e-3, atol=1e-3)


def test_quick_students_take_the_machine_of_their_command():
    options = EvaluateOptions(**QUICK | {"device": "cpu", "compile": "off", "precision": "bf16"})
    assert options.runtime_settings == {"device": "cpu", "compile": "off", "precision": "bf16"}
    bundle = easy_bundle()
    settled = settle(Experiment(bundle=lambda _: bundle, test=bundle, options=options, digests={}))
    ((*_, record), *_) = evaluate([settled], set())
    assert record["cost"]["precision"] == "bf16"
