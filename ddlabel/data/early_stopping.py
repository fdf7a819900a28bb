"""Which checkpoint of an expert run suits a budget of images per class."""

import math
from typing import NamedTuple

from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.schema import require


class EarlyStop(NamedTuple):
    """The checkpoint at which a run is stopped early.

    Attributes:
        step: Its step.
        goal: The training accuracy that suits the budget, in [0, 1].
        is_reached: Whether the checkpoint reaches it.
    """

    step: int
    goal: float
    is_reached: bool


def accuracy_goal(ipc: float, num_classes: int) -> float:
    """Return the accuracy, in [0, 1], of experts whose labels suit `ipc` images per class.

    Its logit is 0.21 + 0.51·log₁₀(ipc) − 1.14·log₁₀(K / 10): least squares through the logits of
    the best experts of Label-Worth (CIFAR-100 and Tiny ImageNet: Table 7; CIFAR-10: its public
    code) at IPC 1, 10, 50 and 100. It is at most 5 points off. Their accuracies are 56.0, 65.1,
    74.9 and 76.5 % (10 classes), 30.2, 40.2, 50.7 and 56.4 % (100), and 19.2, 35.0, 38.1 and
    38.8 % (200). They are of test images, which an expert that is stopped early knows about as well
    as its training images.
    """
    log_ipc = math.log10(max(ipc, 1))
    logit = 0.21 + 0.51 * log_ipc - 1.14 * math.log10(num_classes / 10)
    return 1 / (1 + math.exp(-logit))


def early_stop(run: ExpertRun, ipc: float) -> EarlyStop:
    """Return the early-stopped checkpoint of a run for a budget of `ipc` images per class.

    It is the first checkpoint whose accuracy on a fixed sample of the *training* images reaches
    `accuracy_goal`, so that a longer run has the same one. A run that never reaches the goal has
    its most accurate checkpoint. Test data are never looked at.

    Raises:
        InvalidInputError: The run has no training accuracies, or the checkpoint is missing.
    """
    accuracies: dict[int, float] = {}
    for record in run.metrics():
        if "train_accuracy" in record:
            accuracies[int(record["step"])] = record["train_accuracy"]
    require(
        accuracies,
        f"{run.folder}: it has no training accuracies, by which auto chooses: name an epoch, or "
        "'last'",
    )
    goal = accuracy_goal(ipc, len(run.about.classes))
    best = max(accuracies.values())
    wanted = min(goal, best)
    step = min(step for step, accuracy in accuracies.items() if accuracy >= wanted)
    require(
        step in run.epochs,
        f"{run.folder}: step {step}, which auto takes, has no checkpoint: name an epoch",
    )
    return EarlyStop(step=step, goal=goal, is_reached=best >= goal)
