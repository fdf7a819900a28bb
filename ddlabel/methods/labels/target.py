"""The only place where labels are read: in what space they are, and what a loss may ask of them."""

from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.schema import LabelMeta, Space


def shares(own: Tensor, other: Tensor, share: Tensor, classes: int) -> Tensor:
    """Share of each class [B, K] where `share` [B] of an image is of class `own` [B] and the rest of class `other`."""
    first, second = (F.one_hot(each, classes).float() for each in (own, other))
    return torch.lerp(second, first, share[:, None])


@dataclass(frozen=True, kw_only=True)
class Target:
    """Labels of a batch: `values` [B, K] in the space that `label` names, and the class `hard` [B].

    Where two images were blended, `hard` is [B, K]: the share of each class.
    """

    hard: Tensor
    values: Tensor
    label: LabelMeta

    @classmethod
    def of_classes(cls, hard: Tensor, classes: int) -> Self:
        """Hard labels [B] as a target: probabilities of 0 and 1."""
        return cls(
            hard=hard,
            values=F.one_hot(hard, classes).float(),
            label=LabelMeta(space="probs", source="hard"),
        )

    @property
    def classes(self) -> Tensor:
        """The one class [B] of each image; an IncompatibleError for blended images, which have two."""
        if self.hard.ndim == 1:
            return self.hard
        raise IncompatibleError(
            "this loss needs one class for each image and --mix blends two: leave out one"
        )

    def take(self, rows: Tensor | slice) -> Self:
        """The labels of some rows of the batch."""
        return replace(self, hard=self.hard[rows], values=self.values[rows])

    def holding(self, values: Tensor, space: Space) -> Self:
        """The same with other values [B, K], of this space."""
        return replace(self, values=values, label=LabelMeta(space=space, source=self.label.source))

    def blended(self, partner: Tensor, share: Tensor) -> Self:
        """Labels of images of which `share` [B] is their own and the rest is that of image `partner` [B].

        IncompatibleError for labels that are directions, which have no weighted mean.
        """
        if self.label.space == "direction":
            raise IncompatibleError(
                "--mix blends labels and these are directions: take others, or --mix none"
            )
        probs, weight = self.probs(), share[:, None]
        classes = F.one_hot(self.classes, probs.shape[1]).to(probs.dtype)
        hard, values = (weight * each + (1 - weight) * each[partner] for each in (classes, probs))
        return replace(self.holding(values, "probs"), hard=hard)

    def probs(self, temperature: float = 1.0) -> Tensor:
        """Label distributions [B, K], softened by `temperature` on top of the label's own.

        IncompatibleError for labels that are directions.
        """
        if self.label.space == "logits":
            return F.softmax(self.values / (self.label.temperature * temperature), dim=1)
        if self.label.space in ("probs", "mass"):
            if temperature == 1:
                return self.values
            # softmax(log p / T) is p^(1/T), normalised; log 0 is −∞ and comes out as 0 again.
            softened = F.softmax(self.values.log() / temperature, dim=1)
            return (
                softened
                if self.label.space == "probs"
                else softened.nan_to_num() * self.values.sum(1, keepdim=True)
            )
        hint = "use --loss cosine, or refine with --space probs"
        raise IncompatibleError(
            f"this loss needs probabilities and the labels are directions: {hint}"
        )

    def log_probs(self, temperature: float = 1.0) -> Tensor:
        """Logarithms of `probs`, exact where probabilities would round to 0."""
        if self.label.space == "logits":
            return F.log_softmax(self.values / (self.label.temperature * temperature), dim=1)
        return self.probs(temperature).log()

    @property
    def logits(self) -> Tensor:
        """Label logits [B, K]; an IncompatibleError for labels that are not logits."""
        if self.label.space == "logits":
            return self.values / self.label.temperature
        blended = self.hard.ndim == 2
        cause = (
            "--mix blends labels as probabilities"
            if blended
            else f"the labels are {self.label.space}"
        )
        raise IncompatibleError(
            f"this loss needs logits and {cause}: use soft-ce, kl or mse:space=probs"
        )

    def direction(self, space: str) -> Tensor:
        """Vectors [B, K] of which only the angle counts: probabilities or logits, as `space` says."""
        if self.label.space == "direction":
            return self.values
        return self.logits if space == "logits" else self.probs()

    def in_common_space(self) -> Self:
        """The same labels as directions or, where they have them, as probabilities.

        Rows of different origin (views with soft labels, images with hard ones) can then stand in one batch. Nothing
        is lost: softening probabilities equals softening the logits that they came from.
        """
        return self if self.label.space == "direction" else self.holding(self.probs(), "probs")
