"""Which device, and whether to compile for it."""

import logging
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ddlabel.errors import ResourceError, UsageError

Forward = Callable[[Tensor], Tensor]
# Compiling takes about 15 s; eager ConvNet-D3 loses that much over some 30,000 images of 32 px.
_WORTH_COMPILING_PIXELS = 30_000 * 32 * 32


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` is a GPU where there is one.

    UsageError for a name that torch does not know, ResourceError for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name!r}: expected auto, cpu, cuda or cuda:N") from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ResourceError(f"--device {name}: there is no such device here; use --device cpu") from None
    return device


def compiled(module: nn.Module, mode: str, *, images: int, size: int) -> Forward:
    """The module, compiled if `mode` says so or, with auto, if the work ahead outweighs it.

    `images` of `size` px is what will pass through it. Where nothing can be built auto stays eager.
    """
    # torch builds its kernels with a C++ compiler against Python's headers.
    headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    able = headers and any(map(shutil.which, ("g++", "clang++", "c++")))
    worth = images * size * size >= _WORTH_COMPILING_PIXELS
    if mode == "off" or (mode == "auto" and not (able and worth)):
        return module
    if not able:
        raise ResourceError("--compile on needs a C++ compiler and Python's headers: install them, or --compile off")
    # It says of every machine without CUDA that it has none.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    # Each network of a grid is compiled for its batch, its last batch and the test's, in training and out of it: beyond
    # a limit torch would fall back to eager.
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 1024
    # Only the last batch of an epoch has another shape: one more compilation beats slower kernels for all.
    return cast(Forward, torch.compile(module, dynamic=False))
