"""Options of `import-expert`."""

from dataclasses import dataclass

from ddlabel.core.config.shared import DeviceOptions
from ddlabel.core.normalisation import NAMES
from ddlabel.core.option import TESTING, option


@dataclass(frozen=True, kw_only=True)
class ImportExpertOptions(DeviceOptions):
    """`import-expert`: weights that another program trained, as an expert run."""

    class_names: str | None = option(
        None,
        "the classes in the order of the expert's outputs: with commas, or a file, a bundle or an "
        "expert run that has them (default: those of --real)",
        recorded=False,
    )
    net: str | None = option(
        None, "network spec (default: the network of the registry that fits the weights)"
    )
    size: int | None = option(
        None,
        "side of the expert's images in pixels (default: that of the bundles, else by the weights)",
        low=1,
        high=4096,
    )
    normalise: str | None = option(
        None,
        "how the expert normalises images; measured: by those of --real; none: not at all "
        "(default for 1000 classes with a network of torchvision or timm: imagenet)",
        choices=NAMES,
        not_with=("mean", "zca_from"),
        needs={"measured": "real"},
    )
    mean: str | None = option(
        None,
        "channel means in unit space in place of --normalise, e.g. 0.4914,0.4822,0.4465, or one "
        "number for all",
        only_with="std",
        not_with="zca_from",
    )
    std: str | None = option(None, "channel deviations in unit space", only_with="mean")
    zca_from: str | None = option(
        None,
        "bundle of real images that the ZCA was fitted on which the expert was trained with",
        recorded=False,
    )
    epochs: str | None = option(
        None,
        "of a replay buffer: the epochs to take, e.g. 1,5,10-50 (default: all but 0); of other "
        "files: the epoch of each (default: the number at the end of its name, else 1)",
    )
    experts: str | None = option(
        None,
        "of replay buffers: the experts to take, numbered from 0 through all files (default: all)",
    )
    real: str | None = option(
        None,
        "bundle of the real images that it was trained on: the accuracy on a sample of them is "
        "recorded, which --epoch auto goes by",
        recorded=False,
        panel=TESTING,
    )
    test: str | None = option(
        None,
        "bundle of test images: their accuracy is recorded, which shows a wrong class order or "
        "normalisation",
        recorded=False,
        panel=TESTING,
    )
