"""What is recorded of a student while it trains."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from ddlabel.commands.evaluate.online_accuracy import OnlineAccuracy
from ddlabel.commands.evaluate.running_mean import RunningMean
from ddlabel.core.config import EvaluateOptions
from ddlabel.methods.metrics import confusion, reliability_bins, student_figures

Weights = dict[str, Tensor]


class StudentMonitor:
    """Records losses, gradients, accuracies and the running mean of a student.

    With an option `select` it keeps the student's best weights so far.
    """

    def __init__(
        self,
        body: nn.Module,
        optimizer: Optimizer,
        options: EvaluateOptions,
        online_accuracy: OnlineAccuracy | None = None,
    ) -> None:
        self._body = body
        self._options = options
        self._online_accuracy = online_accuracy
        self._losses: list[float | None] = []
        self._gradient_norms: list[float | None] = []
        self._sum_of_norms = torch.zeros(())
        self._num_steps = torch.zeros(())
        self._checked_epochs: list[int] = []
        self._checked_accuracies: list[float] = []
        self._best_accuracy = -math.inf
        self._best_epoch: int | None = None
        self._best_weights: Weights = {}
        self._running_mean: RunningMean | None = None
        if options.curve:
            optimizer.register_step_pre_hook(self._add_gradient_norm)
        if options.ema is not None:
            self._running_mean = RunningMean(body, options.ema, every=options.ema_every)
            if options.ema_every == "step":
                optimizer.register_step_post_hook(self._running_mean.update)

    def end_epoch(self, loss: float) -> None:
        """Record the mean loss since the last call, and the mean gradient norm with `curve`.

        With `ema_every=epoch` it is called at the end of every epoch.
        """
        self._losses.append(_finite(loss))
        if self._running_mean is not None and self._options.ema_every == "epoch":
            self._running_mean.update()
        if self._options.curve:
            self._gradient_norms.append(self._mean_gradient_norm())
            self._sum_of_norms = torch.zeros(())
            self._num_steps = torch.zeros(())
        if self._online_accuracy is not None:
            self._online_accuracy.end_epoch()

    def check(self, epoch: int, accuracy: float) -> None:
        """Record the accuracy of an epoch; with `select` keep its weights if they are the best."""
        self._checked_epochs.append(epoch)
        self._checked_accuracies.append(accuracy)
        if self._options.select != "last" and accuracy > self._best_accuracy:
            self._best_accuracy = accuracy
            self._best_epoch = epoch
            self._best_weights = copy.deepcopy(self.weights())

    def weights(self) -> Weights:
        """Return the student's weights, or their running mean with `ema`."""
        if self._running_mean is not None:
            return self._running_mean.weights()
        weights: Weights = self._body.state_dict()
        return weights

    def weights_to_test(self) -> Weights:
        """Return the weights of the epoch that counts."""
        return self.weights() if self._best_epoch is None else self._best_weights

    def figures(self, logits: Tensor, hard: Tensor) -> dict[str, Any]:
        """Return the student's metrics for test logits [N, K] and classes [N], and its records."""
        # On the host: a GPU adds to the bins of confidence in another order every time.
        logits, hard = logits.cpu(), hard.cpu()
        figures = student_figures(logits, hard)
        figures["loss"] = self._losses[-1]
        if self._best_epoch is not None:
            figures["chosen_epoch"] = self._best_epoch
            figures["accuracy_when_chosen"] = self._best_accuracy
        if self._options.curve:
            figures["curve"] = self._curve()
        if self._options.confusion:
            figures["confusion"] = confusion(logits, hard)
        if self._options.reliability:
            bins = reliability_bins(logits, logits.argmax(1) == hard)
            figures["reliability"] = [[_finite(value) for value in row] for row in bins.tolist()]
        return figures

    def _curve(self) -> dict[str, Any]:
        """Return what is recorded of every epoch, and accuracies with their epochs."""
        tested = "held_out" if self._options.select == "val" else "test"
        curve: dict[str, Any] = {
            "loss": self._losses,
            "gradient_norm": self._gradient_norms,
            "checked_epochs": self._checked_epochs,
            f"{tested}_accuracy": self._checked_accuracies,
        }
        if self._online_accuracy is not None:
            curve |= self._online_accuracy.figures()
        return curve

    def _mean_gradient_norm(self) -> float | None:
        num_steps = float(self._num_steps)
        return _finite(float(self._sum_of_norms) / num_steps) if num_steps else None

    def _add_gradient_norm(self, optimizer: Optimizer, *_: Any) -> None:
        gradients = []
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    gradients.append(parameter.grad)
        norm = get_total_norm(gradients)
        num_steps = torch.ones_like(norm)
        found_inf = getattr(optimizer, "found_inf", None)
        if found_inf is not None:
            # In fp16 a fused optimizer leaves a step out whose gradients overflow.
            norm = norm.where(found_inf == 0, 0)
            num_steps = (found_inf == 0).to(norm)
        self._sum_of_norms = self._sum_of_norms + norm
        self._num_steps = self._num_steps + num_steps


def _finite(value: float) -> float | None:
    """Return the value, or None, as JSON has no NaN and infinity."""
    return value if math.isfinite(value) else None
