"""The models of timm: `timm:NAME`. It is an extra of the package, imported here only when a spec asks for it."""

import difflib
import importlib
from functools import partial

import torch
from torch import nn

from ddlabel.core.errors import UsageError
from ddlabel.methods.nets.registry import nets


@nets.named("timm:NAME")
def timm(*, channels: int, size: int, classes: int, name: str) -> nn.Module:
    """Any model of timm by its name there, untrained (pip install 'ddlabel[timm]').

    UsageError if timm is not installed or has no such model, ValueError if it cannot be made for the images.
    """
    try:
        library = importlib.import_module("timm")
    except ModuleNotFoundError:
        raise UsageError(f"network 'timm:{name}' needs timm: pip install 'ddlabel[timm]'") from None
    known = library.list_models()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean 'timm:{close[0]}'?" if close else "timm.list_models() names all"
        raise UsageError(f"unknown network 'timm:{name}': {hint}")
    make = partial(
        library.create_model, name, pretrained=False, num_classes=classes, in_chans=channels
    )
    try:
        try:
            net: nn.Module = make(img_size=size)
        except TypeError:  # it has no such argument
            net = make()
        with torch.no_grad():
            net.eval()(torch.zeros(1, channels, size, size))
    except Exception as error:  # timm raises all kinds
        raise ValueError(f"{type(error).__name__}: {error}".partition("\n")[0]) from error
    return net.train()
