"""`torch.compile`: when it saves time, and how work goes on where it cannot be used."""

import errno
import logging
import os
import shutil
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ddlabel.core.errors import ResourceError
from ddlabel.methods.nets.traits import has_max_pooling
from ddlabel.training.compiler_cache import private_cache_folder
from ddlabel.training.cost import count_activations
from ddlabel.training.stacking import Forward
from ddlabel.training.warning import warn_once

# Measured on two CPU cores (`defaults` of tests/benchmarks), for a process that compiles several
# networks: the first one takes 8 s more, and code from the cache of an earlier run 0.2 to 2 s.
# The seconds to compile any network, and for each of its layers:
_SECONDS_FOR_TRAINING = (4.0, 0.3)
_SECONDS_FOR_LABELS = (1.5, 0.1)
# What compiling saves for each activation, forward and backward together: 0.1 to 0.7 ns.
_SECONDS_SAVED_PER_ACTIVATION = 0.3e-9
# Not measured: captured graphs spare a GPU what small kernels wait for.
_SECONDS_SAVED_ON_OTHER_DEVICES = 1.5e-9
_SHARE_OF_FORWARD = 1 / 2
_RECOMPILE_LIMIT = 1024
# The folder in which torch keeps the code that it has compiled.
_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
# Looked up now: torch sets the variable itself when an optimizer is made.
_USER_NAMES_CACHE = _CACHE_VARIABLE in os.environ
_CPP_COMPILERS = ("g++", "clang++", "c++")


def worth_compiling(
    body: nn.Module,
    *,
    num_images: int,
    shape: Sequence[int],
    backward: bool,
    device: torch.device,
) -> bool:
    """Return whether compiling a network saves more seconds than it takes.

    `num_images` images [C, H, W] of `shape` will pass through the network, forward and, with
    `backward`, backward, on a device. On a CPU, compiled max-pooling is slower than torch's own.
    """
    # DistributedDataParallel holds the network as its attribute `module`.
    network = getattr(body, "module", body)
    if device.type == "cpu" and has_max_pooling(network):
        return False
    num_activations, num_layers = count_activations(network, shape)
    per_activation = _SECONDS_SAVED_PER_ACTIVATION
    if device.type != "cpu":
        per_activation = _SECONDS_SAVED_ON_OTHER_DEVICES
    share = 1.0 if backward else _SHARE_OF_FORWARD
    seconds_saved = share * per_activation * num_activations * num_images
    seconds, seconds_per_layer = _SECONDS_FOR_TRAINING if backward else _SECONDS_FOR_LABELS
    return seconds_saved > seconds + seconds_per_layer * num_layers


def can_compile() -> bool:
    """Return whether kernels can be built here. Where they cannot, a warning is logged once."""
    missing = _missing_build_tools()
    if missing is None:
        return True
    warn_once(f"torch.compile cannot be used, and networks run slower: {missing}")
    return False


def compiled(forward: Forward, device: torch.device, *, required: bool) -> Forward:
    """Return a function compiled for a device, or the function itself where that is impossible.

    The function is compiled when it is called first, and then for every new shape. If compilation
    fails, a warning is logged once and the work goes on uncompiled.

    Raises:
        ResourceError: Compilation is `required` and impossible, also in the first call.
    """
    missing = _missing_build_tools()
    if missing is not None:
        return _uncompiled(forward, missing, required=required)
    from torch._dynamo.exc import TorchDynamoException  # this import takes a second

    _configure_torch()
    # Captured graphs spare the host of a GPU from launching many small kernels.
    mode = "reduce-overhead" if device.type == "cuda" else None
    # dynamic=False: only the last batch of an epoch has another shape, and one more compilation
    # costs less than slower kernels for all batches.
    current = cast(Forward, torch.compile(forward, dynamic=False, mode=mode))

    def call(images: Tensor) -> Tensor:
        nonlocal current
        try:
            logits = current(images)
        except TorchDynamoException as error:
            current = _uncompiled(forward, _reason(error), required=required)
            return current(images)
        if mode is None or torch.is_grad_enabled():
            return logits
        # A captured graph writes the output of its next call to the same memory.
        return logits.clone()

    return _filled_up(call)


def _filled_up(forward: Forward) -> Forward:
    """Fill up batches without gradients to the size of the largest one before, and cut logits off.

    Networks do not train then, and treat each image by itself. So the last chunk of some images
    needs no code of its own.
    """
    largest = 0

    def filled_forward(images: Tensor) -> Tensor:
        nonlocal largest
        num_images = images.shape[1]
        if torch.is_grad_enabled():
            return forward(images)
        if num_images < largest:
            filling = images[:, -1:].expand(-1, largest - num_images, *images.shape[2:])
            images = torch.cat([images, filling], 1)
        # After an error, as where memory runs out, smaller batches are taken as they are.
        largest = 0
        logits = forward(images)
        largest = images.shape[1]
        return logits[:, :num_images]

    return filled_forward


def _missing_build_tools() -> str | None:
    """Return what is missing to build kernels, or None.

    torch builds them with a C++ compiler against the headers of Python.
    """
    has_headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    has_compiler = any(shutil.which(name) for name in _CPP_COMPILERS)
    if has_headers and has_compiler:
        return None
    return "there is no C++ compiler, or Python's headers are missing: install them"


def _reason(error: Exception) -> str:
    """Return why torch's compiler has failed, in one line."""
    first_line, _, _ = str(error).strip().partition("\n")
    if os.strerror(errno.ENOSPC) in first_line:
        folder = os.environ[_CACHE_VARIABLE]
        return f"no space is left for its code in {folder}: free some, or set XDG_CACHE_HOME"
    return first_line


def _configure_torch() -> None:
    """Prepare torch's compiler for many networks in one process, and keep its code for others."""
    if not _USER_NAMES_CACHE:
        os.environ[_CACHE_VARIABLE] = str(private_cache_folder())
    # It warns on every machine without CUDA that there is no CUDA.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    # Each network of a grid is compiled for its batches, its last batch and those of the test set,
    # in training and in evaluation. Beyond its limit torch would go on uncompiled.
    torch._dynamo.config.recompile_limit = _RECOMPILE_LIMIT
    torch._dynamo.config.accumulated_recompile_limit = _RECOMPILE_LIMIT


def _uncompiled(forward: Forward, reason: str, *, required: bool) -> Forward:
    """Return the function as it is and warn, or raise ResourceError if it had to be compiled."""
    if required:
        raise ResourceError(f"--compile on: {reason} (or use --compile off)")
    warn_once(f"torch.compile cannot be used, and networks run slower: {reason}")
    return forward
