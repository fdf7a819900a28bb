"""Networks of one kind as one function, so that several students are trained at once."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

# Returns the logits [S, B, K] of S networks for images [S, B, C, H, W].
Forward = Callable[[Tensor], Tensor]
# Words in the errors of layers that `torch.vmap` cannot run.
_WORDS_OF_VMAP = ("vmap", "batching rule", "batchedtensor")


def stacked(bodies: Sequence[nn.Module]) -> Forward:
    """Return networks of one kind as one function of images [S, B, C, H, W] → logits [S, B, K].

    Network s gets images s. Gradients flow to the parameters of every network, and every network
    keeps its own running statistics.
    """
    if len(bodies) == 1:
        return _unstacked(bodies[0])
    first = bodies[0]
    states = [_state(body) for body in bodies]
    buffer_names = [name for name, _ in first.named_buffers()]
    for layer in first.modules():
        if isinstance(layer, _BatchNorm):
            layer.register_forward_pre_hook(_in_float32)

    def forward_one(state: dict[str, Tensor], images: Tensor) -> Tensor:
        logits: Tensor = functional_call(first, state, (images,))
        return logits

    def forward(images: Tensor) -> Tensor:
        stack = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        logits = torch.vmap(forward_one)(stack, images)
        if first.training:
            # The layers updated the stacked copies of the running statistics in place.
            for name in buffer_names:
                for state, updated in zip(states, stack[name], strict=True):
                    state[name].copy_(updated)
        return logits

    return forward


def stackable(body: nn.Module) -> bool:
    """Return whether networks of this kind can be stacked without a change of their results.

    Layers that draw random numbers, such as dropout, would draw other numbers than alone. Attention
    gains nothing: `torch.vmap` goes through the networks one by one.
    """
    return not any(_draws(layer) or _is_attention(layer) for layer in body.modules())


def is_unstackable(error: BaseException) -> bool:
    """Return whether an error of a stack says that `torch.vmap` cannot run one of its layers."""
    message = str(error).lower()
    return any(words in message for words in _WORDS_OF_VMAP)


def _unstacked(body: nn.Module) -> Forward:
    """Return one network as a function of images [1, B, C, H, W] → logits [1, B, K]."""

    def forward(images: Tensor) -> Tensor:
        logits: Tensor = body(images[0])
        return logits[None]

    return forward


def _in_float32(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Return the images of a batch norm in float32.

    Inside `torch.vmap` torch gives half-precision images weights of their own kind, and then fails
    at the running statistics, which are float32.
    """
    (images,) = inputs
    return (images.float(),)


def _state(body: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers by name, as the network holds them."""
    return dict(body.named_parameters()) | dict(body.named_buffers())


def _draws(layer: nn.Module) -> bool:
    """Return whether a layer has a probability `p` above 0, as dropout has."""
    probability: float = getattr(layer, "p", 0)
    return probability > 0


def _is_attention(layer: nn.Module) -> bool:
    return "Attention" in type(layer).__name__
