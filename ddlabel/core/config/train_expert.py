"""Options of `train-expert`."""

from dataclasses import dataclass

from ddlabel.core.config.shared import TrainOptions, log_option
from ddlabel.core.normalisation import NAMES
from ddlabel.core.option import MACHINE, TESTING, TRAINING, option


@dataclass(frozen=True, kw_only=True)
class TrainExpertOptions(TrainOptions):
    """`train-expert`: labelers from real images (defaults: LADD's and Label-Worth's recipe)."""

    PANEL = TRAINING

    epochs: int = option(10, "passes over the real images", low=1)
    batch_size: int = option(256, "images in a step", low=1)
    optimizer: str = option("sgd:lr=0.01,momentum=0,weight-decay=0", "optimizer spec")
    schedule: str = option("constant", "learning-rate schedule spec")
    save_every: float = option(
        1.0, "epochs between checkpoints, also fractions; rounded to whole steps", above=0
    )
    experts: int = option(1, "number of experts, with successive seeds", low=1)
    zca: bool = option(default=False, help="whiten the images (ZCA, ε = 0.1) inside the expert")
    normalise: str | None = option(
        None,
        "how the expert normalises images; measured: by these images; none: not at all (default: "
        "as the bundle says; of a folder measured)",
        choices=NAMES,
        not_with="zca",
    )
    test: str | None = option(
        None,
        "bundle of test images: their accuracy is recorded, never used",
        recorded=False,
        panel=TESTING,
    )
    protocol: str | None = option(
        None, "preset these options, e.g. torchvision-imagenet", recorded=False
    )
    size: int | None = option(
        None,
        "for a folder of images: resize the short side to this many pixels and crop the centre",
        low=1,
        high=4096,
        recorded=False,
    )
    log: str | None = log_option()
    workers: int = option(
        2, "for a folder of images: processes that read them", low=0, recorded=False, panel=MACHINE
    )
