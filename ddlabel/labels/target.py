"""The only place where labels are read: in what space they are, and what a loss may ask of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ddlabel.errors import IncompatibleError
from ddlabel.header import LabelSpace


@dataclass(frozen=True, kw_only=True)
class Target:
    """Labels of a batch: `values` [B, K] in the space that `label` names, and the class `hard` [B]."""

    hard: Tensor
    values: Tensor
    label: LabelSpace

    @classmethod
    def of_classes(cls, hard: Tensor, classes: int) -> Target:
        """Hard labels [B] as a target: probabilities of 0 and 1."""
        return cls(hard=hard, values=F.one_hot(hard, classes).float(), label=LabelSpace(space="probs", source="hard"))

    def probs(self, temperature: float = 1.0) -> Tensor:
        """Label distributions [B, K], softened by `temperature` on top of the label's own.

        Raises:
            IncompatibleError: for labels that are directions.
        """
        if self.label.space == "logits":
            return F.softmax(self.values / (self.label.temperature * temperature), dim=1)
        if self.label.space == "probs":
            # softmax(log p / T) is p^(1/T), normalised; log 0 is −∞ and comes out as 0 again.
            return self.values if temperature == 1 else F.softmax(self.values.log() / temperature, dim=1)
        raise IncompatibleError(
            "this loss needs probabilities and the labels are directions (refined in logits space): "
            "use --loss cosine, or refine with --space probs"
        )

    @property
    def logits(self) -> Tensor:
        """Label logits [B, K].

        Raises:
            IncompatibleError: for labels that are not logits.
        """
        if self.label.space == "logits":
            return self.values / self.label.temperature
        raise IncompatibleError(
            f"this loss needs logits and the labels are {self.label.space}: use its option space=probs, or other labels"
        )

    def direction(self, space: str) -> Tensor:
        """Vectors [B, K] of which only the angle counts: probabilities or logits, as `space` says."""
        if self.label.space == "direction":
            return self.values
        return self.logits if space == "logits" else self.probs()

    def in_common_space(self) -> Target:
        """The same labels as directions or, where they have them, as probabilities.

        Rows of different origin (views with soft labels, images with hard ones) can then stand in one batch. Nothing
        is lost: softening probabilities equals softening the logits that they came from.
        """
        if self.label.space == "direction":
            return self
        return Target(hard=self.hard, values=self.probs(), label=LabelSpace(space="probs", source=self.label.source))
