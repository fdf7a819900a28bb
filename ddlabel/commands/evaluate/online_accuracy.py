"""How many of a teacher's labels of augmented images are right, epoch by epoch (GIFT, Fig. 10)."""

import torch
from torch import Tensor

from ddlabel.methods.labels.target import Target
from ddlabel.methods.metrics import correct


class OnlineAccuracy:
    """Shares of online labels whose largest entry is at the image's class, for every epoch.

    They are counted on the device and read at the end of an epoch. Of a blended image the class
    with the larger share counts.
    """

    def __init__(self) -> None:
        self._num_labels = 0
        self._num_correct: dict[str, Tensor] = {}
        self._by_epoch: dict[str, list[float]] = {}

    def add(self, kind: str, target: Target) -> None:
        """Count the labels of a batch under the name of their kind: teacher or refined."""
        hard = target.hard if target.hard.ndim == 1 else target.hard.argmax(1)
        so_far = self._num_correct.get(kind, torch.zeros((), device=hard.device))
        self._num_correct[kind] = so_far + correct(target.values, hard)
        if kind == "teacher":
            self._num_labels += len(hard)

    def end_epoch(self) -> None:
        """Read the shares of the labels since the last call."""
        for kind, count in self._num_correct.items():
            self._by_epoch.setdefault(kind, []).append(float(count) / self._num_labels)
        self._num_labels = 0
        self._num_correct.clear()

    def figures(self) -> dict[str, list[float]]:
        """Return the shares of every epoch by the names of the curve."""
        return {f"{kind}_label_accuracy": shares for kind, shares in self._by_epoch.items()}
