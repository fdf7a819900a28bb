"""Students trained side by side are what they are alone."""

from __future__ import annotations

import weakref
from dataclasses import replace
from itertools import chain

import pytest
import torch
from samples import make_bundle
from students import easy_bundle, experiment, stack_sizes, student_records, student_results

from ddlabel.commands.evaluate import grid
from ddlabel.commands.evaluate.grid import train_students
from ddlabel.core.errors import ResourceError, UsageError
from ddlabel.core.memory import is_out_of_memory
from ddlabel.training import runtime
from ddlabel.training.runtime import Runtime

# Bytes.
NO_MACHINE_HAS = 1 << 60


def assert_close_results(first: list[list[dict]], second: list[list[dict]]) -> None:
    """Losses agree within the tolerance of float32, predictions in all but a few images."""
    for a, b in zip(chain(*first), chain(*second), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-4)
        assert a["accuracy"] == pytest.approx(b["accuracy"], abs=0.04)


def fail_in_stacks_above(size: int, fail, monkeypatch) -> list[int]:
    """Let the training of a stack above a size fail; returns a list that gets the sizes tried."""
    sizes: list[int] = []
    train_stack = grid.train_stack

    def train(cache, stack, progress):
        sizes.append(len(stack))
        if len(stack) > size:
            fail()
        return train_stack(cache, stack, progress)

    monkeypatch.setattr(grid, "train_stack", train)
    return sizes


class TestResults:
    def test_students_of_several_seeds_rates_and_losses_are_what_they_are_alone(self):
        variants = [
            {"loss": "ce", "optimizer": "adam:lr=0.01"},
            {"loss": "cosine", "optimizer": "sgd:lr=0.1"},
            {"loss": "ce", "optimizer": "lion", "schedule": "cosine", "augment": "flip"},
        ]
        alone = [experiment(**variant, batch_size=7) for variant in variants]
        stack = [replace(cell, options=replace(cell.options, stack=4.0)) for cell in alone]
        assert_close_results(student_results(*stack), student_results(*alone))

    @pytest.mark.parametrize(
        "options",
        [
            {"ema": 0.5},
            {"curve": True},
            {"confusion": True},
            {"select": "best-on-test", "checks": 3},
            {"mix": "cutmix", "labels": "soft"},
        ],
    )
    def test_figures_are_the_same(self, options):
        (alone,) = student_results(experiment(**options, stack=1.0))
        (stack,) = student_results(experiment(**options, stack=2.0))
        assert_close_results([stack], [alone])
        for a, b in zip(alone, stack, strict=True):
            assert a.keys() == b.keys()
            if "curve" in options:
                norms = a["curve"]["gradient_norm"]
                assert norms == pytest.approx(b["curve"]["gradient_norm"], rel=1e-3)


class TestSizes:
    def test_the_number_of_students_side_by_side_is_recorded(self):
        cells = [experiment(stack=2.0, loss=loss) for loss in ("ce", "cosine")]
        assert stack_sizes(cells) == [2, 2, 2, 2]
        assert stack_sizes([experiment(stack=3.0)]) == [2, 2]

    def test_auto_is_one_on_a_cpu(self):
        assert stack_sizes([experiment(device="cpu")]) == [1, 1]

    def test_students_of_another_kind_go_by_themselves(self):
        cells = [
            experiment(stack=8.0),
            experiment(stack=8.0, net="convnet-d2"),
            experiment(stack=8.0, epochs=3),
        ]
        students = train_students(cells)
        sizes = sorted((number, record.cost["stack"]) for number, _, record in students)
        assert sizes == [(0, 2), (0, 2), (1, 2), (1, 2), (2, 2), (2, 2)]

    @pytest.mark.parametrize("options", [{"continual": 2}, {"select": "val"}])
    def test_some_protocols_train_one_student_at_a_time(self, options):
        assert stack_sizes([experiment(easy_bundle(), stack=8.0, **options)]) == [1, 1]

    def test_networks_with_dropout_are_trained_one_at_a_time(self):
        bundle = make_bundle(images=9, size=32)
        assert stack_sizes(
            [experiment(bundle, stack=8.0, net="vit:width=8,depth=1,mlp=8", epochs=1)]
        ) == [1, 1]


class TestMemory:
    def test_a_stack_that_is_too_large_is_refused(self, monkeypatch):
        monkeypatch.setattr(Runtime, "max_stack_size", lambda *_, **__: 1)
        with pytest.raises(ResourceError, match="--stack"):
            student_results(experiment(stack=5.0, seeds=5))

    @pytest.mark.parametrize("is_gpu", [False, True], ids=["cpu", "gpu"])
    def test_a_stack_that_runs_out_of_memory_is_halved(self, monkeypatch, is_gpu):
        def exhaust_memory():
            if is_gpu:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            torch.empty(NO_MACHINE_HAS)

        alone = student_results(experiment(seeds=5))
        sizes = fail_in_stacks_above(2, exhaust_memory, monkeypatch)
        assert_close_results(student_results(experiment(seeds=5, stack=5.0)), alone)
        assert sizes == [5, 2, 2, 1]

    def test_what_did_not_fit_is_gone_before_the_next_try(self, monkeypatch):
        left = []
        train_stack = grid.train_stack

        class Activations:
            pass

        def train(cache, stack, progress):
            assert all(reference() is None for reference in left)
            if len(stack) == 1:
                return train_stack(cache, stack, progress)
            activations = Activations()
            left.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr(grid, "train_stack", train)
        student_results(experiment(seeds=4, stack=4.0))
        assert len(left) == 2

    def test_a_student_that_does_not_fit_alone_is_an_error(self, monkeypatch):
        sizes = fail_in_stacks_above(0, lambda: torch.empty(NO_MACHINE_HAS), monkeypatch)
        with pytest.raises(RuntimeError) as caught:
            student_results(experiment(seeds=4, stack=4.0))
        assert is_out_of_memory(caught.value)
        assert sizes == [4, 2, 1]


class TestOtherErrors:
    def test_students_with_a_layer_that_cannot_be_stacked_are_trained_alone(self, monkeypatch):
        """The error is vmap's own, of a layer that asks for a number of its images."""

        def branch_on_a_value():
            torch.vmap(lambda image: image if image.sum() > 0 else -image)(torch.ones(3, 2))

        sizes = fail_in_stacks_above(1, branch_on_a_value, monkeypatch)
        student_results(experiment(seeds=4, stack=4.0))
        assert sizes == [4, 1, 1, 1, 1]

    def test_an_error_of_ours_in_a_stack_is_not_hidden(self, monkeypatch):
        fail_in_stacks_above(1, lambda: torch.ones(2, 3) @ torch.ones(2, 3), monkeypatch)
        with pytest.raises(RuntimeError, match="shapes"):
            student_results(experiment(seeds=4, stack=4.0))


class TestPrecision:
    """On a CPU, vmap convolves in float32 whatever autocast says."""

    @pytest.mark.parametrize("precision", ["auto", "bf16"])
    def test_students_side_by_side_in_bfloat16_are_refused_on_a_cpu(self, monkeypatch, precision):
        monkeypatch.setattr(runtime, "has_bfloat16_units", lambda _: True)
        options = {"precision": precision, "compile": "off", "seeds": 2}
        with pytest.raises(UsageError, match="add --precision fp32, or leave out --stack"):
            student_records(experiment(stack=2.0, **options))
        records = student_records(experiment(stack=1.0, **options))
        assert [record.cost["precision"] for record in records] == ["bf16"] * 2
