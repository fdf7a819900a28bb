"""The only reader of labels: it knows their space and gives a loss the form that it asks for."""

from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.schema import LabelMeta, Space


def class_shares(first: Tensor, second: Tensor, weight: Tensor, num_classes: int) -> Tensor:
    """Return the share of each class [B, K] in blended images.

    A fraction `weight` [B] of an image is of class `first` [B], the rest of class `second` [B].
    """
    first_one_hot = F.one_hot(first, num_classes).float()
    second_one_hot = F.one_hot(second, num_classes).float()
    return torch.lerp(second_one_hot, first_one_hot, weight[:, None])


@dataclass(frozen=True, kw_only=True)
class Target:
    """Labels of a batch: `values` [B, K] in the space of `meta`, and the classes `hard` [B].

    For blended images `hard` is [B, K]: the share of each class. `first` [B] is then the class of
    the image that the other one was blended into.
    """

    hard: Tensor
    values: Tensor
    meta: LabelMeta
    first: Tensor | None = None

    @classmethod
    def of_classes(cls, hard: Tensor, num_classes: int) -> Self:
        """Return the one-hot distributions of the classes hard [B]."""
        return cls(
            hard=hard,
            values=F.one_hot(hard, num_classes).float(),
            meta=LabelMeta(space="probs", source="hard"),
        )

    @property
    def classes(self) -> Tensor:
        """The one class [B] of each image.

        Raises:
            IncompatibleError: The images are blended and have two classes each.
        """
        if self.hard.ndim == 1:
            return self.hard
        raise IncompatibleError(
            "this loss needs one class for each image and --mix blends two: leave out one"
        )

    @property
    def first_classes(self) -> Tensor:
        """The class [B] of each image; of blended ones that of the image blended into."""
        return self.classes if self.first is None else self.first

    def take(self, rows: Tensor | slice) -> Self:
        """Return the labels of these rows of the batch."""
        first = None if self.first is None else self.first[rows]
        return replace(self, hard=self.hard[rows], values=self.values[rows], first=first)

    def with_values(self, values: Tensor, space: Space) -> Self:
        """Return the same target with other label values [B, K] of this space."""
        return replace(self, values=values, meta=LabelMeta(space=space, source=self.meta.source))

    def blended(self, partner: Tensor, share: Tensor) -> Self:
        """Return labels of blended images: `share` [B] of each one and the rest of `partner` [B].

        Raises:
            IncompatibleError: The labels are directions, which have no weighted mean, or the images
                are blended already.
        """
        if self.meta.space == "direction":
            raise IncompatibleError(
                "--mix blends labels and these are directions: take others, or --mix none"
            )
        probs = self.probs()
        one_hot = F.one_hot(self.classes, probs.shape[1]).to(probs.dtype)
        weight = share[:, None]
        hard = weight * one_hot + (1 - weight) * one_hot[partner]
        values = weight * probs + (1 - weight) * probs[partner]
        return replace(self.with_values(values, "probs"), hard=hard, first=self.classes)

    def probs(self, temperature: float = 1.0) -> Tensor:
        """Return distributions [B, K], softened by `temperature` on top of the labels' own.

        Labels of the space `mass` keep their sum, which need not be 1.

        Raises:
            IncompatibleError: The labels are directions.
        """
        if self.meta.space == "direction":
            raise IncompatibleError(
                "this loss needs probabilities and the labels are directions:"
                " use --loss cosine, or refine with --space probs"
            )
        if self.meta.space == "logits":
            return F.softmax(self.values / (self.meta.temperature * temperature), dim=1)
        if temperature == 1:
            return self.values
        # softmax(log p / T) is p^(1/T), normalised. A probability of 0 stays 0: its log is −∞.
        softened = F.softmax(self.values.log() / temperature, dim=1)
        if self.meta.space == "probs":
            return softened
        return softened.nan_to_num() * self.values.sum(1, keepdim=True)

    def log_probs(self, temperature: float = 1.0) -> Tensor:
        """Return the logarithms of `probs`, exact even where probabilities would round to 0.

        Raises:
            IncompatibleError: The labels are directions.
        """
        if self.meta.space == "logits":
            return F.log_softmax(self.values / (self.meta.temperature * temperature), dim=1)
        return self.probs(temperature).log()

    @property
    def logits(self) -> Tensor:
        """Label logits [B, K], divided by the labels' temperature.

        Raises:
            IncompatibleError: The labels are not logits.
        """
        if self.meta.space == "logits":
            return self.values / self.meta.temperature
        is_blended = self.hard.ndim == 2
        if is_blended:
            cause = "--mix blends labels as probabilities"
        else:
            cause = f"the labels are {self.meta.space}"
        raise IncompatibleError(
            f"this loss needs logits and {cause}: use soft-ce, kl or mse:space=probs"
        )

    def direction(self, space: str) -> Tensor:
        """Return vectors [B, K] of which only the angle counts.

        Labels that are directions are returned as they are, others as `space` says: logits or
        probs.

        Raises:
            IncompatibleError: `space` is logits and the labels are neither logits nor directions.
        """
        if self.meta.space == "direction":
            return self.values
        return self.logits if space == "logits" else self.probs()

    def in_common_space(self) -> Self:
        """Return the labels as probabilities, or unchanged if they are directions.

        Rows of different origin (views with soft labels, images with hard ones) can then share a
        batch. Nothing is lost: softening probabilities equals softening the logits they came from.
        """
        if self.meta.space == "direction":
            return self
        return self.with_values(self.probs(), "probs")
