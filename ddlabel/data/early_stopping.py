"""Which checkpoint of an expert run suits a budget of images per class."""

import math

from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.schema import require


def share_of_best(ipc: float) -> float:
    """Return the share of a run's best accuracy that suits a budget of `ipc` images per class.

    0.6 + 0.2·log₁₀(ipc), at most 1: a line through the best experts of Label-Worth's Table 7 (and
    its CIFAR-10 figures). As shares of the final accuracy, theirs are 0.50 … 0.75 at IPC 1,
    0.71 … 0.91 at IPC 10, 0.90 … 1 at IPC 50 and 1 at IPC 100. ImageNet's ResNet18 lies below the
    line (0.25 at IPC 1).
    """
    return min(1.0, 0.6 + 0.2 * math.log10(max(ipc, 1)))


def early_stop(run: ExpertRun, ipc: float) -> int:
    """Return the step of the early-stopped checkpoint for a budget of `ipc` images per class.

    It is the first checkpoint whose accuracy on a fixed sample of the *training* images reaches
    `share_of_best(ipc)` of the run's best. Test data are never looked at.

    Raises:
        InvalidInputError: The run has no training accuracies, or the checkpoint is missing.
    """
    accuracies: dict[int, float] = {}
    for record in run.metrics():
        if "train_accuracy" in record:
            accuracies[int(record["step"])] = record["train_accuracy"]
    require(
        accuracies,
        f"{run.folder}: no training accuracies for --epoch auto: name an epoch, or 'last'",
    )
    goal = share_of_best(ipc) * max(accuracies.values())
    step = min(step for step, accuracy in accuracies.items() if accuracy >= goal)
    require(
        step in run.epochs,
        f"{run.folder}: step {step}, which auto takes, has no checkpoint: name an epoch",
    )
    return step
