"""The environment of a result: its device, the number of threads, and the versions."""

import platform
from typing import Any

import numpy as np
import torch

from ddlabel import __version__


def environment(device: torch.device) -> dict[str, Any]:
    """Return the device, the name of a GPU, the number of threads of torch, and the versions.

    With another one of them, numbers are summed in another order. The last bits of a result differ
    then, and training makes the difference larger.
    """
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return {
        "device": device.type,
        **gpu,
        "threads": torch.get_num_threads(),
        "versions": {
            "ddlabel": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
