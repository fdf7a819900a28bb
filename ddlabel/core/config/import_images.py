"""Options of `import`."""

from dataclasses import dataclass

from ddlabel.core.normalisation import NAMES
from ddlabel.core.option import option
from ddlabel.core.options import Options


@dataclass(frozen=True, kw_only=True)
class ImportOptions(Options):
    """`import`: foreign files to a bundle."""

    format: str = option(
        "auto",
        "kind of source; auto looks at the files ('ddlabel list formats' shows all)",
    )
    split: str | None = option(
        None, "part of the data set: train, val or test (default: train, where it has parts)"
    )
    size: int | None = option(
        None, "resize the short side to this many pixels and crop the centre", low=1, high=4096
    )
    resize: int | None = option(
        None,
        "resize the short side to this many pixels before --size is cropped, as test images of "
        "ImageNet are: 256 for 224",
        low=1,
        high=4096,
        only_with="size",
    )
    skip_bad: bool = option(
        default=False, help="leave out images that cannot be read, and name them"
    )
    factor: int | None = option(
        None,
        "RDED's factor: each image is so many patches wide and high; goes into the history, and "
        "protocols read it there",
        low=1,
        high=16,
    )
    grid: str | None = option(
        None,
        "how images lie in one picture: rows=10,cols=10,pad=2, and ipc=1 (default: cols) or "
        "images=95 where that is so",
    )
    rgb: bool = option(default=False, help="turn grey images into RGB")
    pixels: str | None = option(
        None,
        "pixel space of .pt and .npz images",
        choices=("uint8", "unit", "normalised", "zca"),
        needs={"normalised": ("normalise", "mean"), "zca": "zca_from"},
    )
    normalise: str | None = option(
        None,
        "how networks normalise the images, and what normalised pixels are converted with; "
        "measured: by these images; none: not at all (default: measured)",
        choices=NAMES,
        not_with="mean",
    )
    mean: str | None = option(
        None,
        "channel means in unit space in place of --normalise, e.g. 0.4914,0.4822,0.4465, or one "
        "number for all",
        only_with="std",
    )
    std: str | None = option(
        None,
        "channel deviations in unit space",
        only_with="mean",
    )
    label_space: str | None = option(
        None,
        "space of the soft labels [N, K], where the numbers leave it open",
        choices=("logits", "probs", "mass", "direction"),
    )
    zca_from: str | None = option(
        None,
        "bundle of real images that the whitening was fitted on",
        recorded=False,
        only_with="pixels=zca",
    )
    set: int | None = option(
        None, "number of the set in a result file of DC, from 0 (default: the last)", low=0
    )
    hard_labels: str | None = option(
        None,
        "file with the class of each image, where the source has labels [N, K] alone: .npy, .npz, "
        ".csv or .pt",
        recorded=False,
        not_with="class_sorted",
    )
    class_sorted: bool = option(
        default=False,
        help="the images are sorted by class, as many of each: hard labels beside labels [N, K]",
    )
    class_names: str | None = option(
        None,
        "names of classes that the source numbers, from number 0: with commas, or a file, a "
        "bundle or an expert run that has them",
        recorded=False,
    )
    class_order: str | None = option(
        None,
        "the class names in another order than that of the source: with commas, or a file, a "
        "bundle or an expert run that has them",
        recorded=False,
    )

    @property
    def part(self) -> str:
        """The part to read of a data set that has parts."""
        return self.split or "train"
