"""The demo's handwritten digits, which are evaluated where no bundle is given."""

from ddlabel.commands.demo_digits import DIGITS
from ddlabel.commands.inputs import OpenBundle, open_bundle
from ddlabel.commands.select import select
from ddlabel.core.config import ImportOptions, SelectOptions
from ddlabel.data import importers

_IMAGES_PER_CLASS = 10


def open_digits() -> tuple[OpenBundle, OpenBundle]:
    """Return ten images of each digit with hard labels, and the test set."""
    real = importers.load([DIGITS], ImportOptions(split="train"))
    test = importers.load([DIGITS], ImportOptions(split="test"))
    few = select(real, SelectOptions(ipc=_IMAGES_PER_CLASS))
    return open_bundle(few), open_bundle(test)
