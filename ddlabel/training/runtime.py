"""Where networks run and in which arithmetic: `--device`, `--precision` and `--compile`."""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from ddlabel.core.config import RuntimeOptions
from ddlabel.core.errors import ResourceError, UsageError
from ddlabel.core.memory import is_out_of_memory
from ddlabel.methods.nets.traits import has_depthwise_convolutions, normalises_maps
from ddlabel.training.arithmetic import arithmetic
from ddlabel.training.compilation import can_compile, compiled, worth_compiling
from ddlabel.training.cost import count_activations
from ddlabel.training.memory import free_bytes, keep_freed_memory
from ddlabel.training.stacking import Forward, stacked

_AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_FLOAT32_BYTES = 4
# Weights, their gradients, a stacked copy of both and two running means of an optimizer.
_NUMBERS_PER_PARAMETER = 6
# Activations and their gradients.
_NUMBERS_PER_ACTIVATION = 2


def pick_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is a GPU where there is one.

    Raises:
        UsageError: There is no kind of device of this name.
        ResourceError: There is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise UsageError(f"--device is {name!r}: expected auto, cpu, mps, cuda or cuda:N")
    device = torch.device(name)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise ResourceError(
                f"--device {name}: other programs have taken its memory; wait for them, or use "
                "another device"
            ) from None
        raise ResourceError(
            f"--device {name}: there is no such device on this machine; use --device cpu"
        ) from None
    return device


def has_bfloat16_units(device: torch.device) -> bool:
    """Return whether a device has units for bfloat16.

    These are the tensor cores of a GPU of compute capability 8.0, and AMX or AVX-512 of a CPU.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Older releases of torch have no such function.
    get_capabilities = getattr(torch.cpu, "get_capabilities", dict)
    capabilities: dict[str, Any] = get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


class Work(NamedTuple):
    """How networks run for some work: compiled or not, in which precision, and the last batches."""

    compiles: bool
    precision: str
    compiles_last: bool = False


class LastBatch(NamedTuple):
    """The last, smaller batch of an epoch: its size, and the images of all of them in training."""

    size: int
    num_images: int

    @classmethod
    def of(cls, num_images: int, batch_size: int, num_epochs: int) -> "LastBatch | None":
        """Return the last batch of epochs over `num_images`; None if it is as large as the others.

        An epoch of one batch has no other.
        """
        size = num_images % batch_size
        if size == 0 or num_images < batch_size:
            return None
        return cls(size, size * num_epochs)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A device, the precision of networks on it (fp32, tf32, bf16 or fp16) and `--compile`.

    To make one changes nothing in torch: run networks inside `with runtime.arithmetic():`.
    `of` lets the process keep freed memory if the device is a CPU: see `keep_freed_memory`.
    """

    device: torch.device
    precision: str
    compile: str
    # The precision in which networks with depthwise convolutions train, if it is another one.
    depthwise_precision: str | None = None

    @classmethod
    def of(cls, options: RuntimeOptions) -> Self:
        """Return the runtime of these options.

        The precision `auto` is bf16 on a device with units for bfloat16, and fp32 elsewhere. On a
        CPU, networks with depthwise convolutions train in fp32, which is faster for them.

        Raises:
            UsageError: The device has a name that torch does not know.
            ResourceError: The device is not there or does not have the precision.
        """
        device = pick_device(options.device)
        if device.type == "cpu":
            keep_freed_memory()
        precision = options.precision
        depthwise_precision = None
        if precision == "auto":
            precision = "bf16" if has_bfloat16_units(device) else "fp32"
            if device.type == "cpu":
                depthwise_precision = "fp32"
        if precision in ("tf32", "fp16") and device.type != "cuda":
            raise ResourceError(
                f"--precision {precision} needs a CUDA device and this is {device}: "
                "use fp32 or bf16"
            )
        return cls(
            device=device,
            precision=precision,
            compile=options.compile,
            depthwise_precision=depthwise_precision,
        )

    def arithmetic(self) -> AbstractContextManager[None]:
        """Set how a GPU computes in this precision inside a `with` block: see `arithmetic`."""
        return arithmetic(self.device, use_tf32=self.precision == "tf32")

    def loss_scaler(self) -> torch.amp.GradScaler:
        """Return what lets small gradients survive in fp16; in other precisions it does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def forward(
        self,
        bodies: Sequence[nn.Module],
        *,
        num_images: int,
        shape: Sequence[int],
        backward: bool = False,
        last_batch: LastBatch | None = None,
    ) -> Forward:
        """Return networks of one kind as one function of images [S, B, C, H, W] → logits [S, B, K].

        Network s gets images s, and the logits are float32. `--compile auto` compiles them if it
        saves time for `num_images` images [C, H, W] of `shape` through each network, in training
        with `backward`. The training steps of `last_batch` are compiled if that saves time too:
        their code is compiled anew.

        Raises:
            ResourceError: `--compile` is on and the networks cannot be compiled.
        """
        work = self.work(
            bodies[0],
            num_images=num_images,
            shape=shape,
            backward=backward,
            last_batch=last_batch,
        )
        if work.precision in _AUTOCAST_DTYPES and self._keeps_channels_together(bodies[0]):
            for body in bodies:
                body.to(memory_format=torch.channels_last)
        plain = stacked(bodies)
        forward = plain
        if work.compiles:
            last_size = None
            if last_batch is not None and not work.compiles_last:
                last_size = last_batch.size
            forward = _partly_plain(
                compiled(plain, self.device, required=self.compile == "on"),
                plain,
                last_size=last_size,
                # A GPU tests in less time than the code for it is compiled, and a captured graph
                # keeps the memory of its largest batch.
                in_tests=backward and self.device.type == "cuda",
            )
        if work.precision in _AUTOCAST_DTYPES:
            forward = _autocasting(forward, self.device, _AUTOCAST_DTYPES[work.precision])
        return _of_contiguous(forward)

    def work(
        self,
        body: nn.Module,
        *,
        num_images: int,
        shape: Sequence[int],
        backward: bool,
        last_batch: LastBatch | None = None,
    ) -> "Work":
        """Return whether networks like `body` are compiled for some work, and their precision.

        See `forward` for the work. The choice depends on counts alone, never on measured time, so
        that the numbers of a result do not depend on how busy the machine is.
        """
        precision = self.precision
        if backward and self.depthwise_precision is not None and has_depthwise_convolutions(body):
            precision = self.depthwise_precision

        def is_worth_it(num_images: int) -> bool:
            return worth_compiling(
                body,
                num_images=num_images,
                shape=shape,
                backward=backward,
                device=self.device,
            )

        compiles = self.compile == "on"
        compiles_last = compiles
        if self.compile == "auto":
            compiles = can_compile() and is_worth_it(num_images)
            num_in_last = 0 if last_batch is None else last_batch.num_images
            compiles_last = compiles and is_worth_it(num_in_last)
        return Work(compiles=compiles, precision=precision, compiles_last=compiles_last)

    def _keeps_channels_together(self, body: nn.Module) -> bool:
        """Return whether the channels of a pixel should lie next to each other in memory.

        Tensor cores and AMX multiply along the channels. But on a CPU, torch's group and layer
        norms of such maps are many times slower (tests/benchmarks/README.md).
        """
        return self.device.type != "cpu" or not normalises_maps(body)

    def max_stack_size(self, body: nn.Module, *, batch_size: int, shape: Sequence[int]) -> int:
        """Estimate how many networks like `body` can be trained at once in the free memory.

        Each trains on batches of `batch_size` images [C, H, W] of `shape`.
        """
        num_activations, _ = count_activations(body, shape)
        num_parameters = sum(parameter.numel() for parameter in body.parameters())
        numbers_per_network = (
            _NUMBERS_PER_ACTIVATION * num_activations * batch_size
            + _NUMBERS_PER_PARAMETER * num_parameters
        )
        return free_bytes(self.device) // (_FLOAT32_BYTES * numbers_per_network)


def _autocasting(forward: Forward, device: torch.device, dtype: torch.dtype) -> Forward:
    """Return a function that computes in `dtype` where torch holds it to be safe."""

    def autocast_forward(images: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype):
            logits = forward(images)
        return logits.float()

    return autocast_forward


def _of_contiguous(forward: Forward) -> Forward:
    """Return a function that first lays images out as [S, B, C, H, W], the last axis together.

    Augmentations may leave the channels of a pixel together. Maps would be laid out like that too:
    norms are slow then, and a network would be compiled once more.
    """

    def forward_contiguous(images: Tensor) -> Tensor:
        return forward(images.contiguous())

    return forward_contiguous


def _partly_plain(
    forward: Forward, plain: Forward, *, last_size: int | None, in_tests: bool
) -> Forward:
    """Return compiled networks `forward`, with `plain` in their place where that is faster.

    These are training batches of `last_size` images and, with `in_tests`, what needs no gradients.
    """

    def either_forward(images: Tensor) -> Tensor:
        is_training = torch.is_grad_enabled()
        is_plain = images.shape[1] == last_size if is_training else in_tests
        return plain(images) if is_plain else forward(images)

    return either_forward
