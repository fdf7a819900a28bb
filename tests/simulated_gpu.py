"""A simulated GPU, for tests on machines without one: `with simulated_gpu(): ...`.

Its tensors compute on the CPU, but torch's rules for devices hold: an operation on tensors of both
devices fails, a tensor of the GPU is no array of numpy, and a random generator serves one device
only. So a forgotten `.to(device)` is found without a GPU. Speed, streams, captured graphs and
compiled code are not simulated: use `--compile off`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")
MEMORY = 16 << 30
# The argument with the values that are put in. The indices may be on the CPU.
_INDEXING = {
    "aten::index": None,
    "aten::index_put_": 2,
    "aten::_index_put_impl_": 2,
    "aten::index_fill_": 3,
}
_COPIES = ("aten::copy_", "aten::_to_copy")
_MOVES = (Tensor.to, Tensor.cpu, Tensor.cuda)
_FROM_DATA = (torch.tensor, torch.as_tensor, Tensor.new_tensor)
_TO_NUMPY = (Tensor.numpy, Tensor.__array__)


@contextmanager
def simulated_gpu(free_memory: int = MEMORY) -> Iterator[None]:
    """Pretend that this process has one GPU of compute capability 9.0 with this free memory."""
    calls = _Calls()
    with pytest.MonkeyPatch.context() as patch, _Kernels(calls), calls:
        _patch_cuda(patch, free_memory)
        _patch_torch(patch)
        overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
        # A parameter on the CPU cannot become one of the GPU in place: they are of two classes.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            yield
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(overwrites)


class GpuTensor(Tensor):
    """A tensor of the simulated GPU; `host` has its numbers."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> GpuTensor:
        tensor = Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=CPU,
        )
        tensor.host = host
        return tensor

    @property
    def device(self) -> torch.device:
        return GPU

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def is_cpu(self) -> bool:
        return False

    def __reduce_ex__(self, protocol):
        """Files hold the numbers: which device they are read to is the reader's choice."""
        return self.host.__reduce_ex__(protocol)

    def __repr__(self) -> str:
        return f"GpuTensor({self.host})"

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, kernel, types, args=(), kwargs=None):
        return _run(kernel, args, kwargs or {}, made_on_gpu=True)


class _Calls(TorchFunctionMode):
    """Sees the calls of torch's functions: moves between the devices, and what makes tensors."""

    def __init__(self) -> None:
        super().__init__()
        # Whether the call has tensors of the GPU: then those that torch makes in it are on it too.
        self.are_on_gpu = False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        on_gpu = any(_is_on_gpu(leaf) for leaf in tree_leaves((args, kwargs)))
        if function in _MOVES:
            return _moved(function, *args, **kwargs)
        if on_gpu and function in _TO_NUMPY:
            raise TypeError("can't convert a tensor of the GPU to numpy: use .cpu() first")
        if on_gpu and function is Tensor.tolist:
            return args[0].host.tolist()
        if function is Tensor.pin_memory:
            if on_gpu:
                raise RuntimeError("only tensors of the CPU can be pinned")
            return args[0]
        device = kwargs.get("device")
        if function in _FROM_DATA and (_is_gpu(device) or (on_gpu and device is None)):
            return _moved(Tensor.to, function(*args, **(kwargs | {"device": CPU})), GPU)
        _check_generator(kwargs.get("generator"), on_gpu or _is_gpu(device))
        before = self.are_on_gpu
        self.are_on_gpu = on_gpu and device is None
        try:
            return function(*args, **kwargs)
        finally:
            self.are_on_gpu = before


class _Kernels(TorchDispatchMode):
    """Runs kernels without tensors of the GPU among their arguments, such as `torch.zeros`."""

    def __init__(self, calls: _Calls) -> None:
        super().__init__()
        self.calls = calls

    def __torch_dispatch__(self, kernel, types, args=(), kwargs=None):
        return _run(kernel, args, kwargs or {}, made_on_gpu=self.calls.are_on_gpu)


def _run(kernel, args, kwargs: dict[str, Any], *, made_on_gpu: bool) -> Any:
    """Run a kernel on the numbers of its tensors; its results are on the GPU if its tensors are."""
    name = kernel._schema.name
    leaves = tree_leaves((args, kwargs))
    of_gpu = [leaf for leaf in leaves if isinstance(leaf, GpuTensor)]
    _check_same_device(name, args, leaves)
    device = kwargs.get("device")
    host_args, host_kwargs = tree_map_only(GpuTensor, lambda leaf: leaf.host, (args, kwargs))
    if _is_gpu(device):
        host_kwargs["device"] = CPU
    result = kernel(*host_args, **host_kwargs)
    first = kernel._schema.arguments[0] if kernel._schema.arguments else None
    if name.endswith("_") and first.alias_info is not None and isinstance(args[0], Tensor):
        return args[0]
    if name == "aten::copy_":
        return args[0]
    is_made = not any(isinstance(leaf, Tensor) for leaf in leaves)
    is_on_meta = device is not None and torch.device(device).type == "meta"
    if is_on_meta or not (_is_gpu(device) or of_gpu or (is_made and made_on_gpu)):
        return result
    known = {id(tensor.host): tensor for tensor in of_gpu}
    return tree_map_only(Tensor, lambda host: known.get(id(host)) or GpuTensor(host), result)


def _check_same_device(name: str, args, leaves: list[Any]) -> None:
    """Raise RuntimeError for tensors of both devices, where torch does.

    Numbers (tensors without axes) may be on the CPU, and so may the indices of a tensor.
    """
    if name in _COPIES:
        return
    if name in _INDEXING and isinstance(args[0], GpuTensor):
        values = _INDEXING[name]
        leaves = [args[0]] if values is None else [args[0], args[values]]
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    of_gpu = [tensor for tensor in tensors if isinstance(tensor, GpuTensor)]
    of_cpu = [t for t in tensors if not isinstance(t, GpuTensor) and t.ndim > 0]
    if of_gpu and of_cpu:
        shapes = [tuple(tensor.shape) for tensor in of_gpu + of_cpu]
        raise RuntimeError(
            f"{name}: expected all tensors to be on the same device, but {len(of_gpu)} are on "
            f"cuda:0 and {len(of_cpu)} on cpu (shapes {shapes}, those of the GPU first)"
        )


def _check_generator(generator: torch.Generator | None, is_on_gpu: bool) -> None:
    """Raise RuntimeError if random numbers of one device come from a generator of the other."""
    if generator is not None and _is_gpu(generator.device) != is_on_gpu:
        raise RuntimeError(f"expected a generator of the tensor's device, got {generator.device}")


def _moved(function, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Do what `Tensor.to`, `cpu` and `cuda` do: another device, dtype or order in memory."""
    device = {Tensor.cpu: CPU, Tensor.cuda: GPU}.get(function, kwargs.get("device"))
    dtype = kwargs.get("dtype")
    for argument in args:
        if isinstance(argument, Tensor):
            device, dtype = argument.device, argument.dtype
        elif isinstance(argument, torch.dtype):
            dtype = argument
        elif isinstance(argument, (str, torch.device)):
            device = argument
    if device is not None and torch.device(device).type == "meta":
        return torch.empty_like(tensor.detach(), dtype=dtype, device="meta")
    if device is not None and _is_gpu(device) != _is_on_gpu(tensor):
        tensor = _Move.apply(tensor)
    changes = {"dtype": dtype or tensor.dtype}
    if kwargs.get("memory_format") is not None:
        changes["memory_format"] = kwargs["memory_format"]
    if kwargs.get("copy") or len(changes) > 1 or dtype not in (None, tensor.dtype):
        return torch.ops.aten._to_copy(tensor, **changes)
    return tensor


class _Move(torch.autograd.Function):
    """A copy on the other device."""

    @staticmethod
    def forward(_, tensor: Tensor) -> Tensor:
        if isinstance(tensor, GpuTensor):
            return tensor.host.detach().clone()
        return GpuTensor(tensor.detach().clone())

    @staticmethod
    def backward(_, gradient: Tensor) -> Tensor:
        return _Move.apply(gradient)


def _is_gpu(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _is_on_gpu(value: object) -> bool:
    """Whether a value is a tensor of the GPU, or a stack of such tensors inside `torch.vmap`."""
    while isinstance(value, Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(value):
        value = torch._C._functorch.get_unwrapped(value)
    return isinstance(value, GpuTensor)


def _patch_cuda(patch: pytest.MonkeyPatch, free_memory: int) -> None:
    """Let `torch.cuda` tell of one GPU."""
    generator = torch.Generator()
    answers = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "_lazy_init": lambda: None,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_name": lambda device=None: "simulated",
        "mem_get_info": lambda device=None: (free_memory, MEMORY),
        "memory_allocated": lambda device=None: 0,
        "memory_reserved": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: MEMORY - free_memory,
        "reset_peak_memory_stats": lambda device=None: None,
        "is_current_stream_capturing": lambda: False,
        "get_rng_state": lambda device=None: generator.get_state(),
        "set_rng_state": lambda state, device=None: generator.set_state(state),
        "default_generators": (generator,),
    }
    for name, answer in answers.items():
        patch.setattr(torch.cuda, name, answer)


def _patch_torch(patch: pytest.MonkeyPatch) -> None:
    """Let what torch does for a GPU in C++ be done on the CPU."""

    class Generator(torch.Generator):
        def __new__(cls, device="cpu"):
            generator = super().__new__(cls, CPU)
            generator.simulated_device = torch.device(device)
            return generator

        @property
        def device(self):
            return self.simulated_device

    class Autocast(torch.autocast):
        def __init__(self, device_type, dtype=None, **options):
            super().__init__("cpu", dtype=dtype, **options)

    original_to = nn.Module.to

    def module_to(module, *args, **kwargs):
        """Leave modules that are there already as they are: their parameters stay the same."""
        if not args and set(kwargs) == {"memory_format"}:
            return module
        tensors = [*module.parameters(), *module.buffers()]
        devices = {tensor.device.type for tensor in tensors}
        is_device = len(args) == 1 and not kwargs and isinstance(args[0], (str, torch.device))
        if is_device and devices == {torch.device(args[0]).type}:
            return module
        return original_to(module, *args, **kwargs)

    patch.setattr(torch, "Generator", Generator)
    patch.setattr(torch, "autocast", Autocast)
    patch.setattr(nn.Module, "to", module_to)
    check = "_accelerator_graph_capture_health_check"
    patch.setattr(torch.optim.Optimizer, check, lambda optimizer: None, raising=False)
