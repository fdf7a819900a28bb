"""The models of timm as `timm:NAME`. timm is an extra, imported only when a spec asks for it."""

import difflib
import importlib
from typing import Any

import torch
from torch import nn

from ddlabel.core.errors import UsageError
from ddlabel.core.memory import is_out_of_memory
from ddlabel.methods.nets.registry import nets


@nets.named("timm:NAME")
def timm(*, channels: int, size: int, num_classes: int, name: str) -> nn.Module:
    """Any model of timm by its name there, untrained (pip install 'ddlabel[timm]').

    Raises:
        UsageError: timm is not installed, or has no such model.
        ValueError: The model cannot be built for the images.
    """
    library = _import_timm(name)
    _check_name(name, library.list_models())
    try:
        net = _create(library, name, channels=channels, size=size, num_classes=num_classes)
        with torch.no_grad():
            net.eval()(torch.zeros(1, channels, size, size))
    except Exception as error:  # timm's models raise errors of all kinds
        if is_out_of_memory(error):
            raise
        first_line = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ValueError(first_line) from error
    return net.train()


def _import_timm(name: str) -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError:
        raise UsageError(f"network 'timm:{name}' needs timm: pip install 'ddlabel[timm]'") from None


def _check_name(name: str, known: list[str]) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean 'timm:{close[0]}'?" if close else "timm.list_models() names all"
    raise UsageError(f"unknown network 'timm:{name}': {hint}")


def _create(library: Any, name: str, *, channels: int, size: int, num_classes: int) -> nn.Module:
    options = {"pretrained": False, "num_classes": num_classes, "in_chans": channels}
    try:
        net: nn.Module = library.create_model(name, img_size=size, **options)
    except TypeError:  # the model has no argument img_size
        net = library.create_model(name, **options)
    return net
