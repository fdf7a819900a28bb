"""When networks are compiled, and that work goes on where they cannot be."""

from __future__ import annotations

import logging

import pytest
import torch
from networks import CPU, SHAPE, build_body, cpu_runtime, random_images

from ddlabel.core.errors import ResourceError
from ddlabel.training import compilation, runtime
from ddlabel.training.compilation import compiled, worth_compiling
from ddlabel.training.runtime import LastBatch
from ddlabel.training.stacking import stacked
from ddlabel.training.warning import warn_once

MANY_IMAGES = 10**9


@pytest.fixture
def warnings(caplog):
    """The messages of warnings, each of which can be logged once more."""
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="ddlabel"):
        yield lambda: [record.message for record in caplog.records]


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setattr(compilation.shutil, "which", lambda _: None)


def break_compiler(monkeypatch, message: str) -> None:
    """Let the compiler fail when the function is called first."""
    from torch._dynamo.exc import TorchDynamoException

    def compile_nothing(*_, **__):
        def fail(_):
            raise TorchDynamoException(message)

        return fail

    monkeypatch.setattr(torch, "compile", compile_nothing)


@pytest.fixture
def broken_compiler(monkeypatch):
    break_compiler(monkeypatch, "g++ says no\nand more")


def test_a_compiled_stack_is_the_eager_one():
    bodies = [build_body(seed=seed) for seed in range(2)]
    images = random_images(2, 4, *SHAPE)
    on = cpu_runtime(compile="on")
    forward = on.forward(bodies, num_images=1, shape=SHAPE, backward=True)
    torch.testing.assert_close(forward(images), stacked(bodies)(images), rtol=1e-4, atol=1e-5)


class TestWorth:
    # ConvNet-D1 of width 8 has 1795 activations in 6 layers (see test_cost.py). Compiling it takes
    # 4 s and 0.3 s for each layer in training, 1.5 s and 0.1 s for labels. It saves nanoseconds for
    # each activation, for labels half of them.
    @pytest.mark.parametrize(("factor", "expected"), [(0.99, False), (1.01, True)])
    @pytest.mark.parametrize(
        ("device", "backward", "seconds", "nanoseconds"),
        [("cpu", True, 5.8, 0.3), ("cpu", False, 2.1, 0.15), ("cuda", True, 5.8, 1.5)],
    )
    def test_compilation_has_to_save_more_than_it_takes(
        self, factor, expected, device, backward, seconds, nanoseconds
    ):
        enough_images = seconds / (1795 * nanoseconds * 1e-9)
        worth = worth_compiling(
            build_body(),
            num_images=int(factor * enough_images),
            shape=SHAPE,
            backward=backward,
            device=torch.device(device),
        )
        assert worth == expected

    @pytest.mark.parametrize(("device", "expected"), [("cpu", False), ("cuda", True)])
    def test_networks_with_max_pooling_are_not_compiled_on_a_cpu(self, device, expected):
        body = torch.nn.Sequential(build_body()[0], torch.nn.MaxPool2d(2))
        worth = worth_compiling(
            body, num_images=10**12, shape=SHAPE, backward=True, device=torch.device(device)
        )
        assert worth == expected

    def test_a_wrapped_network_counts_as_what_it_wraps(self):
        wrapper = torch.nn.Module()
        wrapper.module = build_body()
        few, many = (
            worth_compiling(wrapper, num_images=n, shape=SHAPE, backward=True, device=CPU)
            for n in (1, MANY_IMAGES)
        )
        assert (few, many) == (False, True)

    @pytest.mark.parametrize(
        ("choice", "num_images", "expected"),
        [
            ("off", MANY_IMAGES, False),
            ("auto", 1000, False),
            ("auto", MANY_IMAGES, True),
            ("on", 1, True),
        ],
    )
    def test_auto_compiles_long_work_only(self, monkeypatch, choice, num_images, expected):
        seen = []

        def spy(forward, device, *, required):
            seen.append((device, required))
            return forward

        monkeypatch.setattr(runtime, "compiled", spy)
        cpu_runtime(compile=choice).forward([build_body()], num_images=num_images, shape=SHAPE)
        assert seen == ([(CPU, choice == "on")] if expected else [])


class TestShapes:
    @pytest.fixture
    def sizes(self, monkeypatch):
        """The number of images in each batch that came to code that stands for compiled code."""
        seen: list[int] = []

        def compile_nothing(forward, **_):
            def count(images):
                seen.append(images.shape[1])
                return forward(images)

            return count

        monkeypatch.setattr(torch, "compile", compile_nothing)
        return seen

    def test_the_last_chunk_is_filled_up_and_its_logits_are_its_own(self, sizes):
        plain = stacked([build_body()])
        forward = compiled(plain, CPU, required=True)
        images = random_images(1, 10, *SHAPE)
        with torch.no_grad():
            parts = [forward(part) for part in torch.split(images, 4, dim=1)]
            torch.testing.assert_close(torch.cat(parts, 1), plain(images))
        assert sizes == [4, 4, 4]

    def test_training_batches_are_not_filled_up(self, sizes):
        forward = compiled(stacked([build_body()]), CPU, required=True)
        for size in (4, 2):
            assert forward(random_images(1, size, *SHAPE)).shape[1] == size
        assert sizes == [4, 2]

    def test_after_an_error_smaller_batches_are_taken_as_they_are(self, monkeypatch):
        plain = stacked([build_body()])

        def fail_above_four(images):
            if images.shape[1] > 4:
                raise MemoryError
            return plain(images)

        monkeypatch.setattr(torch, "compile", lambda *_, **__: fail_above_four)
        forward = compiled(plain, CPU, required=True)
        with torch.no_grad():
            with pytest.raises(MemoryError):
                forward(random_images(1, 8, *SHAPE))
            assert forward(random_images(1, 4, *SHAPE)).shape[1] == 4

    @pytest.mark.parametrize(
        ("num_in_last", "choice", "expected"),
        [(20, "auto", [8]), (MANY_IMAGES, "auto", [8, 3]), (20, "on", [8, 3])],
    )
    def test_rare_last_batches_are_not_compiled(self, sizes, num_in_last, choice, expected):
        plain = stacked([build_body()])
        forward = cpu_runtime(compile=choice).forward(
            [build_body()],
            num_images=MANY_IMAGES,
            shape=SHAPE,
            backward=True,
            last_batch=LastBatch(3, num_in_last),
        )
        for size in (8, 3):
            images = random_images(1, size, *SHAPE)
            torch.testing.assert_close(forward(images), plain(images))
        assert sizes == expected

    @pytest.mark.parametrize(
        ("num_images", "expected"), [(10, LastBatch(2, 2 * 3)), (8, None), (3, None)]
    )
    def test_the_last_batch_is_what_is_left_of_the_images(self, num_images, expected):
        assert LastBatch.of(num_images, 4, 3) == expected


class TestWithoutACompiler:
    def test_auto_stays_eager_and_warns_once(self, no_compiler, warnings):
        images = random_images(1, 2, *SHAPE)
        for _ in range(2):
            body = build_body()
            auto = cpu_runtime(compile="auto")
            forward = auto.forward([body], num_images=MANY_IMAGES, shape=SHAPE)
            torch.testing.assert_close(forward(images), stacked([body])(images))
        assert len(warnings()) == 1

    def test_on_is_refused(self, no_compiler, warnings):
        with pytest.raises(ResourceError, match="--compile"):
            cpu_runtime(compile="on").forward([build_body()], num_images=1, shape=SHAPE)
        assert warnings() == []

    def test_a_compiler_that_fails_is_left_for_eager(self, broken_compiler, warnings):
        body = build_body()
        images = random_images(1, 2, *SHAPE)
        forward = cpu_runtime(compile="auto").forward([body], num_images=MANY_IMAGES, shape=SHAPE)
        for _ in range(2):
            torch.testing.assert_close(forward(images), stacked([body])(images))
        (message,) = warnings()
        assert "g++ says no" in message
        assert "and more" not in message

    def test_a_compiler_that_fails_is_refused_if_it_is_required(self, broken_compiler, warnings):
        forward = compiled(stacked([build_body()]), CPU, required=True)
        with pytest.raises(ResourceError, match="--compile"):
            forward(random_images(1, 2, *SHAPE))
        assert warnings() == []

    def test_a_full_cache_is_named(self, monkeypatch, tmp_path):
        break_compiler(monkeypatch, "OSError: [Errno 28] No space left on device")
        forward = compiled(stacked([build_body()]), CPU, required=True)
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
        with pytest.raises(ResourceError, match=f"in {tmp_path}: free some, or set XDG_CACHE_HOME"):
            forward(random_images(1, 2, *SHAPE))
