"""Out of memory: how the error is recognised, and what to do about it."""

import errno

from ddlabel.core.errors import ResourceError

# Torch has an error of its own for GPUs only. On a CPU it raises a RuntimeError with these words.
_WORDS = (
    "DefaultCPUAllocator: ",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "Triton Error [CUDA]: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    # cuDNN, if the workspace of no algorithm fits:
    "unable to find an engine to execute this computation",
    "Cannot allocate memory",
    "Storage size calculation overflowed",
    "std::bad_alloc",
    "can't start new thread",
)
# All that oneDNN says, under torch's convolutions, when its kernel or its buffer does not fit.
_ONEDNN_MESSAGES = ("could not create a primitive", "could not create a memory object")
# The words of the system's loader when there is no memory for a library.
_LOADER_WORDS = "failed to map segment"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there is not enough memory, on a CPU or on a device.

    These are Python's MemoryError, the operating system's ENOMEM, torch's OutOfMemoryError, a
    RuntimeError of torch's allocator, and an ImportError of a library that does not fit.
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):
        message = str(error)
        is_of_torch = type(error).__name__ == "OutOfMemoryError"
        is_of_onednn = message.strip() in _ONEDNN_MESSAGES
        return is_of_torch or is_of_onednn or any(words in message for words in _WORDS)
    if isinstance(error, ImportError):
        return _LOADER_WORDS in str(error)
    return isinstance(error, MemoryError)


def out_of_memory_error(option_names: frozenset[str] | set[str] = frozenset()) -> ResourceError:
    """Return the error for a command with these options that nothing smaller fits.

    A batch size decides the result: it is never changed here, but named.
    """
    advice = []
    if "batch_size" in option_names:
        advice.append("a smaller --batch-size (the result changes with it)")
    if "net" in option_names:
        advice.append("a smaller --net")
    if "device" in option_names:
        advice.append("another --device")
    advice.append("a machine with more memory")
    return ResourceError(f"out of memory: use {', or '.join(advice)}")
