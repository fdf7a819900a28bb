"""Benchmark of `train-expert`."""

import math
import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ddlabel.commands.expert_plan import RealImages, plan_runs
from ddlabel.commands.expert_training import train_run
from ddlabel.core.config import TrainExpertOptions
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle

from . import inputs, reference
from .harness import Result, Settings, Turn, benchmark, compare_sides
from .machine import flops

NET = "convnet-d3"
BATCH_SIZE = 256
# The reference tests itself on this share of its images, as ddlabel does on 2,000 of 50,000.
_IMAGES_PER_TESTED_IMAGE = 25


def _epochs_and_images(steps: int, num_images: int) -> tuple[int, int]:
    """Split steps into epochs over whole batches, with as many of the images as possible.

    Returns:
        The epochs and the images of each.
    """
    steps_per_epoch = num_images // BATCH_SIZE
    epochs = math.ceil(steps / steps_per_epoch)
    return epochs, BATCH_SIZE * math.ceil(steps / epochs)


def reference_expert(path: Path, device: str, net: str = NET) -> Turn:
    """Make a turn of so many steps of the reference's expert."""
    bundle = formats.read(str(path))
    rows = inputs.sample_rows(len(bundle), len(bundle))
    images, labels = inputs.normalised_tensors(bundle, rows)

    def turn(steps: int) -> Result:
        epochs, num_images = _epochs_and_images(steps, len(bundle))
        num_tested = max(1, num_images // _IMAGES_PER_TESTED_IMAGE)
        accuracy = reference.train_expert(
            net,
            train=(images[:num_images], labels[:num_images]),
            test=(images[:num_tested], labels[:num_tested]),
            epochs=epochs,
            num_classes=bundle.num_classes,
            device=device,
        )
        return {"count": epochs * num_images, "accuracies": [accuracy]}

    return turn


def ddlabel_expert(path: Path, device: str, options: Mapping[str, Any], net: str = NET) -> Turn:
    """Make a turn of so many steps of ddlabel's expert.

    It writes its checkpoints and tests itself on 2,000 training images.
    """
    bundle = formats.read(str(path))

    @lru_cache(maxsize=1)
    def sample(num_images: int) -> Bundle:
        return bundle.take(inputs.sample_rows(len(bundle), num_images))

    def turn(steps: int) -> Result:
        epochs, num_images = _epochs_and_images(steps, len(bundle))
        settings = TrainExpertOptions(net=net, epochs=epochs, device=device, **options)
        real = RealImages.of_bundle(sample(num_images), digest="")
        records: list[dict[str, Any]] = []
        folder = Path(tempfile.mkdtemp(dir=path.parent))
        try:
            (planned,) = plan_runs(real, folder / "run", settings)
            train_run(real, planned, settings, report=records.append)
        finally:
            shutil.rmtree(folder)
        return {"count": epochs * num_images, "accuracies": [records[-1]["train_accuracy"]]}

    return turn


@benchmark("train-expert")
def measure_train_expert(settings: Settings) -> Result:
    """Measure an expert on CIFAR-10 with the recipe of LADD and Label-Worth."""
    path = inputs.real_images(settings)
    device = settings.device
    result = compare_sides(
        "train-expert",
        settings,
        "images/s",
        reference=partial(reference_expert, path, device),
        ddlabel=partial(ddlabel_expert, path, device, settings.options),
        expected=5 if device == "cpu" else 20,
        flops=flops(reference.network(NET, 32, 10), 32, backward=True),
    )
    equal_work = result["at_equal_work"]
    reference_accuracy = 100 * equal_work["reference"]["accuracies"][0]
    ddlabel_accuracy = 100 * equal_work["ddlabel"]["accuracies"][0]
    result["figures"]["train-expert"]["text"] += (
        f", training accuracy after {equal_work['amount']} steps "
        f"{reference_accuracy:.1f} % and {ddlabel_accuracy:.1f} %"
    )
    return result
