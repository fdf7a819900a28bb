"""Where and how networks run: the device, the precision, compiled or not, one by one or stacked."""

import functools
import logging
import math
import os
import re
import shutil
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ddlabel.core.config import RuntimeOptions
from ddlabel.core.errors import ResourceError, UsageError
from ddlabel.training.cost import activations

Forward = Callable[[Tensor], Tensor]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# What compiling saves, in seconds for each number that a layer puts out, forward and backward, and what it takes, in
# seconds for each layer: 1.1 to 2.9 ns and 0.6 to 1.1 s on two CPU cores (ConvNet-D3 of width 32 and 128 and
# ResNet-18 at 32 px, ConvNet-D5 at 128 px).
_SAVED_PER_ACTIVATION = 1.5e-9
_SECONDS_PER_LAYER = 1.0


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` is a GPU where there is one.

    UsageError for a name that torch does not know, ResourceError for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise UsageError(f"--device {name!r}: expected auto, cpu, cuda or cuda:N")
    device = torch.device(name)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ResourceError(
            f"--device {name}: there is no such device here; use --device cpu"
        ) from None
    return device


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A device, the arithmetic of networks on it and what `--compile` says."""

    device: torch.device
    precision: str
    compile: str

    @classmethod
    def of(cls, options: RuntimeOptions, *, training: bool = True) -> Self:
        """The machine of these options; `auto` takes bf16 for training only, where the device has units for it.

        UsageError or ResourceError for a device or a precision that is not there.
        """
        device, precision = pick_device(options.device), options.precision
        cuda = device.type == "cuda"
        if precision == "auto":
            precision = "bf16" if training and has_bfloat16_units(device) else "fp32"
        if precision in ("tf32", "fp16") and not cuda:
            raise ResourceError(
                f"--precision {precision} needs a CUDA device and this is {device}: use fp32 or bf16"
            )
        if cuda:
            torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
            torch.backends.cudnn.allow_tf32 = precision == "tf32"
        return cls(device=device, precision=precision, compile=options.compile)

    def room(self, body: nn.Module, *, batch_size: int, shape: Sequence[int]) -> int:
        """About how many such networks fit into the memory that is free, each in training on a batch."""
        if self.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.device)[0]
        else:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        # Numbers that layers put out and their gradients; weights, gradients, stacked copies and two running means.
        numbers = 2 * activations(body, shape)[0] * batch_size + 6 * sum(
            p.numel() for p in body.parameters()
        )
        return int(free // (4 * numbers))

    def forward(
        self,
        bodies: Sequence[nn.Module],
        *,
        images: int,
        shape: Sequence[int],
        backward: bool = False,
    ) -> Forward:
        """Networks of one kind as one function of images [S, B, C, H, W] → logits [S, B, K], network s for images s.

        So many `images` [C, H, W] of `shape` will pass through each: `--compile auto` weighs by them.
        """
        run = stacked(bodies)
        if self.compile != "off" and (
            self.compile == "on" or _worth_compiling(bodies[0], images, shape, backward)
        ):
            run = self._compiled(run)
        if self.precision not in _DTYPES:
            return run
        for body in bodies:  # tensor cores and AMX work on channels
            body.to(memory_format=torch.channels_last)
        cast_to = torch.autocast(self.device.type, _DTYPES[self.precision])
        return lambda images: cast_to(run)(images).float()

    def _compiled(self, run: Forward) -> Forward:
        """The function compiled; where nothing can be built it stays as it is, with a word, or an error if `on`."""
        # torch builds its kernels with a C++ compiler against Python's headers.
        headers = Path(sysconfig.get_path("include"), "Python.h").exists()
        if not (headers and any(map(shutil.which, ("g++", "clang++", "c++")))):
            return self._not_compiled(
                run, "there is no C++ compiler, or Python's headers are missing"
            )
        from torch._dynamo.exc import TorchDynamoException  # a second of imports

        # It says of every machine without CUDA that it has none.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        # Each network of a grid is compiled for its batch, its last batch and the test's, in training and out of it:
        # beyond a limit torch would fall back to eager.
        torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = (
            1024
        )
        # Captured graphs spare a GPU's host the launching of many small kernels. Only the last batch of an epoch has
        # another shape: one more compilation beats slower kernels for all.
        mode = "reduce-overhead" if self.device.type == "cuda" else None
        built: Forward = cast(Forward, torch.compile(run, dynamic=False, mode=mode))

        def forward(images: Tensor) -> Tensor:
            nonlocal built
            try:
                logits = built(images)
            except TorchDynamoException as error:
                built = self._not_compiled(run, str(error).strip().partition("\n")[0])
                return built(images)
            # A captured graph writes its next answer to the same place.
            return logits if torch.is_grad_enabled() or mode is None else logits.clone()

        return forward

    def _not_compiled(self, run: Forward, why: str) -> Forward:
        if self.compile == "on":
            raise ResourceError(
                f"--compile on: {why}; install what is missing, or use --compile off"
            )
        say_once(f"torch.compile cannot be used, and networks run slower: {why}")
        return run


def stacked(bodies: Sequence[nn.Module]) -> Forward:
    """Networks of one kind as one function of images [S, B, C, H, W] → logits [S, B, K], differentiable to each one's
    own parameters; their running means are each one's own too.
    """  # noqa: D205
    first = bodies[0]
    if len(bodies) == 1:
        return lambda images: first(images[0])[None]
    tensors = [dict(body.named_parameters()) | dict(body.named_buffers()) for body in bodies]
    buffers = [name for name, _ in first.named_buffers()]

    def one(own: dict[str, Tensor], images: Tensor) -> Tensor:
        logits: Tensor = functional_call(first, own, (images,))
        return logits

    def run(images: Tensor) -> Tensor:
        stack = {name: torch.stack([own[name] for own in tensors]) for name in tensors[0]}
        logits = torch.vmap(one)(stack, images)
        for name in buffers:
            for own, new in zip(tensors, stack[name], strict=True):
                own[name].copy_(new)
        return logits

    return run


def batches_of(images: Tensor) -> Iterator[Tensor]:
    """Parts of images [N, C, H, W] to pass through a network without gradients.

    On a CPU they are so few that what a layer puts out stays in the caches: ConvNet-D3 labels 32 px twice as fast in
    64 as in 500. They are powers of two, of which there are whole numbers in a chunk.
    """
    pixels = 1 << (16 if images.device.type == "cpu" else 23)
    fit = max(1, pixels // math.prod(images.shape[2:]))
    yield from torch.split(images, 1 << (fit.bit_length() - 1))


def stackable(body: nn.Module) -> bool:
    """Whether networks of this kind can be stacked.

    Layers that draw numbers would draw others than alone, and for attention vmap goes through students one by one.
    """
    return not any(
        "Attention" in type(part).__name__ or getattr(part, "p", 0) > 0 for part in body.modules()
    )


def _worth_compiling(body: nn.Module, images: int, shape: Sequence[int], backward: bool) -> bool:
    numbers, layers = activations(
        getattr(body, "module", body), shape
    )  # what DistributedDataParallel wraps
    saved = _SAVED_PER_ACTIVATION * numbers * images * (1 if backward else 1 / 3)
    return saved > _SECONDS_PER_LAYER * layers


def has_bfloat16_units(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 faster than in float32.

    Units are tensor cores of compute capability 8.0 on a GPU, AMX or AVX-512 on an x86 CPU.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Older releases of torch have no such function.
    get_capabilities = getattr(torch.cpu, "get_capabilities", dict)
    capabilities: dict[str, Any] = get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


@functools.cache
def say_once(text: str) -> None:
    """Warn of something that goes on otherwise than was wanted."""
    logging.getLogger("ddlabel").warning(text)
