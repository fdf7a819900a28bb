"""Real images that are too many for memory: class folders that are read while they are used."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from ddlabel.core import rng
from ddlabel.core.config import ImportOptions
from ddlabel.data.bundle import Bundle
from ddlabel.data.class_names import check_class_names
from ddlabel.data.importers.folder import list_images
from ddlabel.data.importers.images import Cut, Member, decode
from ddlabel.data.labels import Array
from ddlabel.data.provenance import canonical_json, sha256_of_text
from ddlabel.data.schema import Pixels, require
from ddlabel.data.statistics import statistics

SAMPLE_SIZE = 2000
_IMAGES_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageFolder:
    """The images of class folders as `import --size --rgb` reads them, decoded on demand.

    Attributes:
        path: The folder.
        size: The side of the decoded images in pixels.
        classes: the names of the classes.
        members: the image files, in the order of `import`.
        hard_labels: the class number [N] of each image.
        sample_rows: the rows [n] of a fixed random sample of at most 2,000 images.
        sample_images: the images [n, 3, S, S] of the sample, decoded once.
        pixels: mean and deviation of the sample.
        digest: sha256 of the names and sizes of the files. Their bytes are too many to read for it.
    """

    path: Path
    size: int
    classes: tuple[str, ...]
    members: list[Member]
    hard_labels: Array
    sample_rows: Array
    sample_images: Array
    pixels: Pixels
    digest: str

    @classmethod
    def open(cls, path: Path, size: int) -> Self:
        """List the images of the class folders in `path`, or in its part `train/`, and sample them.

        Raises:
            InvalidInputError: It is not a folder of class folders, or an image of the sample cannot
                be read.
            UnsafeInputError: An image of the sample has too many pixels.
        """
        require(path.is_dir(), f"{path}: expected a folder of class folders")
        options = _import_options(size)
        members, hard_labels, classes, _ = list_images(path, options)
        check_class_names(str(path), classes)
        generator = np.random.default_rng(rng.stream(0, "sample"))
        sample_rows = generator.permutation(len(members))[:SAMPLE_SIZE]
        sample_images = np.stack([decode(members[row], options) for row in sample_rows])
        mean, std = statistics(sample_images)
        return cls(
            path=path,
            size=size,
            classes=classes,
            members=members,
            hard_labels=hard_labels,
            sample_rows=sample_rows,
            sample_images=sample_images,
            pixels=Pixels(space="uint8", mean=mean, std=std),
            digest=_digest(path, members),
        )

    def __len__(self) -> int:
        return len(self.members)

    def sample(self) -> Bundle:
        """Return the fixed random sample of at most 2,000 images as a bundle."""
        return Bundle(
            classes=self.classes,
            pixels=self.pixels,
            images=self.sample_images,
            hard_labels=self.hard_labels[self.sample_rows],
        )

    def blocks(self) -> Iterator[Array]:
        """Yield all images, decoded in blocks of uint8 [n, 3, S, S].

        Raises:
            InvalidInputError: An image cannot be read.
            UnsafeInputError: An image has too many pixels.
        """
        for start in range(0, len(self), _IMAGES_AT_ONCE):
            yield self.read(range(start, min(start + _IMAGES_AT_ONCE, len(self))))

    def read(self, rows: Sequence[int], cuts: Sequence[Cut | None] | None = None) -> Array:
        """Decode the images of some rows as uint8 [n, 3, S, S].

        Args:
            rows: the numbers of the images, at least one.
            cuts: a function for each row that cuts its part out of the whole image, or None for
                the centre.

        Raises:
            InvalidInputError: An image cannot be read.
            UnsafeInputError: An image has too many pixels.
        """
        options = _import_options(self.size)
        if cuts is None:
            cuts = [None] * len(rows)
        images = []
        for row, cut in zip(rows, cuts, strict=True):
            images.append(decode(self.members[row], options, cut))
        return np.stack(images)


def _import_options(size: int) -> ImportOptions:
    return ImportOptions(size=size, rgb=True)


def _digest(path: Path, members: Sequence[Member]) -> str:
    sizes = []
    for member in members:
        num_bytes = (path / member.path).stat().st_size
        sizes.append([str(member.path), num_bytes])
    return sha256_of_text(canonical_json(sizes))
