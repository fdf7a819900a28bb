"""`train-expert`."""

import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ddlabel.commands.expert_plan import RealImages, plan_runs
from ddlabel.commands.expert_training import train_run
from ddlabel.core.config import TrainExpertOptions
from ddlabel.data import formats

from . import inputs, reference
from .harness import Result, Settings, Turn, benchmark, versus
from .machine import flops

NET = "convnet-d3"
BATCH = 256


def _passes(steps: int, images: int) -> tuple[int, int]:
    """Epochs, and images of each, for so many steps: whole batches, and many images before many epochs."""
    epochs = -(-steps // (images // BATCH))
    return epochs, BATCH * -(-steps // epochs)


def plain(path: Path, device: str) -> Turn:
    """Steps of the reference, which tests itself on a 25th of them: the share of ddlabel's 2,000 in 50,000."""
    bundle = formats.read(str(path))
    images, labels = inputs.tensors(bundle, inputs.some(len(bundle), len(bundle)))

    def turn(steps: int) -> Result:
        epochs, count = _passes(steps, len(bundle))
        tested = slice(0, max(1, count // 25))
        how = {"epochs": epochs, "classes": len(bundle.classes), "device": device}
        train = images[:count], labels[:count]
        accuracy = reference.train_expert(NET, train, (images[tested], labels[tested]), **how)
        return {"count": epochs * count, "accuracies": [accuracy]}

    return turn


def fast(path: Path, device: str, options: Mapping[str, Any]) -> Turn:
    """Steps of ddlabel's expert; it writes its checkpoints and tests itself on 2,000 training images."""
    bundle = formats.read(str(path))
    some = lru_cache(maxsize=1)(lambda count: bundle.take(inputs.some(len(bundle), count)))

    def turn(steps: int) -> Result:
        epochs, count = _passes(steps, len(bundle))
        chosen = TrainExpertOptions(net=NET, epochs=epochs, device=device, **options)
        folder = Path(tempfile.mkdtemp(dir=path.parent))
        try:
            real = RealImages.of_bundle(some(count), digest="")
            (planned,) = plan_runs(real, folder / "run", chosen)
            records = train_run(real, planned, chosen).metrics()
        finally:
            shutil.rmtree(folder)
        return {"count": epochs * count, "accuracies": [records[-1]["train_accuracy"]]}

    return turn


@benchmark("train-expert")
def train_expert_(settings: Settings) -> Result:
    """An expert on CIFAR-10, the recipe of LADD and Label-Worth."""
    path, device = inputs.real(settings), settings.device
    expected, cost = (
        (5 if device == "cpu" else 20),
        flops(reference.network(NET, 32, 10), 32, backward=True),
    )
    sides = (plain, path, device), (fast, path, device, settings.given)
    result = versus("train-expert", settings, "images/s", *sides, expected=expected, flops=cost)
    equal = result["at_equal_work"]
    shown = (f"{100 * equal[side]['accuracies'][0]:.1f} %" for side in ("reference", "ddlabel"))
    also = f", training accuracy after {equal['amount']} steps {' and '.join(shown)}"
    result["figures"]["train-expert"]["text"] += also
    return result
