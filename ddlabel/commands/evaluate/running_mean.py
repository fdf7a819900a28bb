"""The running mean of a student's weights, which is tested in place of the weights."""

from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

Weights = dict[str, Tensor]


class RunningMean:
    """mean ← d·mean + (1 − d)·weights, after every step or every epoch.

    `every` step: d is `decay` from the first step on, the mean starts at the fresh weights, and
    buffers such as the statistics of batch norm are those of the network (EDC's public code).

    `every` epoch: d is min(`decay`, 1 − 1/n) at epoch n, that is a plain mean of all epochs so far
    until `decay` forgets more, of weights and buffers (GLaD's public code).
    """

    def __init__(self, body: nn.Module, decay: float, *, every: str) -> None:
        self._body = body
        self._decay = decay
        self._every = every
        self._num_updates = 0
        self._mean = {name: value.clone() for name, value in self._averaged().items()}

    def weights(self) -> Weights:
        """Return the mean of what is averaged, and the rest as it is in the network."""
        weights: Weights = self._body.state_dict()
        return weights | self._mean

    def update(self, *_: Any) -> None:
        """Take in the network's weights. The arguments of an optimizer's hook are ignored."""
        self._num_updates += 1
        decay = self._decay
        if self._every == "epoch":
            decay = min(decay, 1 - 1 / self._num_updates)
        take_in = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        values = self._averaged()
        take_in([self._mean[name] for name in values], [*values.values()], self._num_updates)

    def _averaged(self) -> Weights:
        """Return the tensors that are averaged, by name: no counters, and buffers by epoch only."""
        parameters = {name for name, _ in self._body.named_parameters()}
        averaged = {}
        for name, tensor in self._body.state_dict().items():
            is_used = name in parameters or self._every == "epoch"
            if is_used and tensor.is_floating_point():
                averaged[name] = tensor
        return averaged
