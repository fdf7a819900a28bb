"""Options of `learn`."""

from dataclasses import dataclass

from ddlabel.core.config.shared import DeviceOptions, log_option, protocol_dataset
from ddlabel.core.option import LABELS, OUTPUT, TRAINING, option


@dataclass(frozen=True, kw_only=True)
class LearnOptions(DeviceOptions):
    """`learn`: soft labels by distillation, with the images fixed (Label-Worth, section 5.2)."""

    PANEL = LABELS

    protocol: str | None = option(
        None,
        "preset the options of a paper's label learning; 'list protocols' shows them",
        panel=TRAINING,
    )
    dataset: str | None = protocol_dataset()
    method: str = option(
        "bptt", "learner spec, e.g. bptt:steps=200,window=60 or mtt:steps=20,ahead=2"
    )
    iterations: int = option(100, "updates of the labels", low=1)
    space: str = option(
        "probs",
        "numbers that are learned: probs, at least 0 and of any sum (RaT-BPTT, Label-Worth), or "
        "logits",
        choices=("probs", "logits"),
    )
    start: str = option(
        "hard",
        "labels to begin with: hard labels (for logits smoothed to 0.9), uniform ones, or the "
        "bundle's soft labels",
        choices=("hard", "uniform", "stored"),
    )
    optimizer: str = option("adam:lr=0.02,weight-decay=0", "optimizer spec of the labels")
    clip: float = option(
        2.0,
        "largest norm of the gradient of all labels together, as a multiple of its running mean; "
        "longer ones are clipped (RaT-BPTT). 0 clips none",
        low=0,
    )
    net: str = option("convnet-d3", "with bptt: network spec of the student", panel=TRAINING)
    inner: str = option(
        "adam:lr=0.003",
        "with bptt: optimizer spec of the student, through which gradients flow: adam or sgd",
        panel=TRAINING,
    )
    batch_size: int | None = option(
        None,
        "images in a step of the student (default: GIFT's rule with bptt, all with mtt)",
        low=1,
        panel=TRAINING,
    )
    augment: str = option(
        "dsa", "augmentation specs of the student's images, joined by +", panel=TRAINING
    )
    seed: int = option(0, "seed of students, order, augmentation and real images", low=0)
    save_every: int = option(
        50,
        "iterations between saves of OUT.resume, to resume from",
        low=1,
        recorded=False,
        panel=OUTPUT,
    )
    real: str | None = option(None, "with bptt: bundle of real images", recorded=False)
    expert: tuple[str, ...] = option(
        (), "with mtt: expert run, or a folder of runs", recorded=False
    )
    log: str | None = log_option()
