"""The handwritten digits that `evaluate` uses where no bundle is given."""

from pathlib import Path

from ddlabel.data import importers
from ddlabel.data.bundle import Bundle

DIGITS = Path(__file__).parents[1] / "demo" / "digits.npz"
_IMAGES_PER_CLASS = 10


def load_digits() -> tuple[Bundle, Bundle]:
    """Return ten images of each digit with hard labels, and the test set."""
    from ddlabel.commands.select import select_images
    from ddlabel.core.config import ImportOptions, SelectOptions

    real = importers.load([DIGITS], ImportOptions(split="train")).bundle
    test = importers.load([DIGITS], ImportOptions(split="test")).bundle
    return select_images(real, SelectOptions(ipc=_IMAGES_PER_CLASS)), test
