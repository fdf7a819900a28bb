"""Where a network looks: GradCAM."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddlabel.core.errors import IncompatibleError


def grad_cam(body: nn.Module, images: Tensor, classes: Tensor | None = None) -> Tensor:
    """Return maps [B, H, W] in 0 … 1 of what speaks for a class in images [B, C, H, W].

    GradCAM (Selvaraju et al. 2017): relu(Σ_c w_c A_c) of the maps A of the last convolution, with
    w_c the mean over positions of the gradient of the logit of the class, enlarged to the images
    and divided by its maximum. `classes` [B] are those that the network predicts unless given. A
    map is 0 where nothing speaks for the class.

    Raises:
        IncompatibleError: The network has no convolution whose output is a map.
    """
    last = _last_convolution(body)
    maps: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
        maps.append(output)
        # Layers that work in place must not change what is kept.
        return output.clone()

    handle = last.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = body(images.detach())
            chosen = logits.argmax(1) if classes is None else classes
            score = logits.gather(1, chosen[:, None]).sum()
            (gradients,) = torch.autograd.grad(score, maps[-1])
    finally:
        handle.remove()
    weights = gradients.mean((2, 3), keepdim=True)
    attention = (weights * maps[-1].detach()).sum(1, keepdim=True).relu()
    enlarged = F.interpolate(attention, images.shape[2:], mode="bilinear", align_corners=False)
    largest = enlarged.amax((1, 2, 3), keepdim=True)
    return (enlarged / largest.clamp_min(torch.finfo(enlarged.dtype).tiny))[:, 0]


def _last_convolution(body: nn.Module) -> nn.Conv2d:
    """Return the last convolution of a network.

    Raises:
        IncompatibleError: There is none, or attention follows it.
    """
    convolutions = [module for module in body.modules() if isinstance(module, nn.Conv2d)]
    # In a transformer the only convolution cuts the image into patches, before anything is seen.
    has_attention = any(isinstance(module, nn.MultiheadAttention) for module in body.modules())
    if not convolutions or has_attention:
        raise IncompatibleError(
            "GradCAM needs the maps of a last convolution, and this network has none: choose "
            "students of a convolutional network"
        )
    return convolutions[-1]
