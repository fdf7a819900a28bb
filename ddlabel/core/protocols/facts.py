"""The facts of an evaluation that a protocol's rows depend on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The number of classes of data sets of the papers, and the sides in pixels that they are used at.
DATASETS: Mapping[str, tuple[int, tuple[int, ...]]] = {
    "cifar10": (10, (32,)),
    "cifar100": (100, (32,)),
    "tiny-imagenet": (200, (64,)),
    "imagenette": (10, (128, 224)),
    "imagewoof": (10, (128, 224)),
    "imagenet-10": (10, (128, 224)),
    "imagenet-100": (100, (128, 224)),
    "imagenet-1k": (1000, (64, 224)),
}

# What a row names where the bundle does not say its factor.
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts of one evaluation: what the bundle and the teacher say of themselves.

    Attributes:
        images: The number of images.
        classes: The number of classes.
        size: The side of the images in pixels.
        labels: The labels to learn from: hard, soft, dense or online.
        dataset: The name of the real data set, where the user gives it.
        teacher: The name of the teacher's network; empty without a teacher.
        factor: How many patches wide and high each image is, as the bundle says (RDED). None: the
            bundle does not say it.
    """

    images: int
    classes: int
    size: int
    labels: str
    dataset: str | None = None
    teacher: str = ""
    factor: int | None = None

    @property
    def ipc(self) -> float:
        """Images per class; not whole if the classes have different numbers."""
        return self.images / self.classes

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data set that the user names, or else those with these classes and pixels."""
        if self.dataset is not None:
            return (self.dataset,)
        return tuple(
            name
            for name, (classes, sizes) in DATASETS.items()
            if classes == self.classes and self.size in sizes
        )

    def of(self, name: str) -> tuple[Any, ...]:
        """Return the values of a fact, of which a row must name one."""
        if name == "dataset":
            return self.datasets
        if name == "factor" and self.factor is None:
            return (UNKNOWN,)
        return (getattr(self, name),)

    def __str__(self) -> str:
        known = ", ".join(self.datasets) or "no data set of the papers"
        factor = "" if self.factor is None else f", factor {self.factor}"
        return f"ipc {self.ipc:g}, classes {self.classes}, size {self.size}{factor} ({known})"
