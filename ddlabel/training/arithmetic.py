"""How a GPU computes: the precision of float32 products, and the same bits in every run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def arithmetic(device: torch.device, *, use_tf32: bool = False) -> Iterator[None]:
    """Set how a GPU computes inside a `with` block, and restore it after.

    TensorFloat-32 is used if it is asked for and not otherwise, neither for matrix products nor for
    convolutions, where torch's own default uses it. cuDNN takes kernels that add in one order.
    Other devices have no such settings: nothing is changed.
    """
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    matmul_before = torch.get_float32_matmul_precision()
    cudnn_before = cudnn.allow_tf32, cudnn.deterministic
    torch.set_float32_matmul_precision("high" if use_tf32 else "highest")
    cudnn.allow_tf32, cudnn.deterministic = use_tf32, True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul_before)
        cudnn.allow_tf32, cudnn.deterministic = cudnn_before
