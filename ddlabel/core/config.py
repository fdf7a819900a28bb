"""Every option of every command, once: name, type, default, help and bounds.

The command line, `--config FILE.toml`, the Python call and the history of a bundle are all made from these classes.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

from ddlabel.core.errors import UsageError
from ddlabel.core.options import Options, option


@dataclass(frozen=True, kw_only=True)
class ImportOptions(Options):
    """`import`: foreign files to a bundle."""

    format: str = option(
        "auto",
        "kind of source; auto looks at it",
        choices=("auto", "folder", "cifar", "idx", "npz", "pt"),
    )
    split: str | None = option(
        None, "part of the data set: train, val or test (default: train, where it has parts)"
    )
    size: int | None = option(
        None, "resize the short side to this many pixels and crop the centre", low=1
    )
    rgb: bool = option(default=False, help="turn grey images into RGB")
    pixels: str | None = option(
        None, "pixel space of .pt and .npz images", choices=("uint8", "unit", "normalised", "zca")
    )
    mean: str | None = option(
        None,
        "channel means in unit space, e.g. 0.4914,0.4822,0.4465, or one number for all; without: of these images",
    )
    std: str | None = option(None, "channel deviations in unit space; without: of these images")
    label_space: str | None = option(
        None, "what (N, K) labels of a .pt or .npz are", choices=("logits", "probs")
    )
    zca_from: str | None = option(
        None, "bundle of real images that --pixels zca was fitted on", recorded=False
    )
    class_names: str | None = option(None, "comma-separated class names, where the source has none")

    @property
    def part(self) -> str:
        """The part to read of a data set that has parts."""
        return self.split or "train"


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """What every command that runs networks has."""

    device: str = option(
        "auto", "cpu, cuda, cuda:1, …; auto takes a GPU where there is one", recorded=False
    )


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions(DeviceOptions):
    """What those have that may compile them, and compute in other numbers than float32."""

    compile: str = option(
        "auto", "torch.compile: auto weighs it", choices=("auto", "on", "off"), recorded=False
    )
    precision: str = option(
        "auto",
        "arithmetic of networks: auto is fp32 for labels, and bf16 for training where the device has units for it",
        choices=("auto", "fp32", "tf32", "bf16", "fp16"),
    )

    @property
    def machine(self) -> dict[str, Any]:
        """These options, for others that work on the same machine."""
        return {each.name: getattr(self, each.name) for each in fields(RuntimeOptions)}


@dataclass(frozen=True, kw_only=True)
class SelectOptions(RuntimeOptions):
    """`select`: a few images of each class."""

    ipc: int = option(10, "images per class", low=1)
    seed: int = option(0, "seed of the draw", low=0)
    method: str = option(
        "random", "selector spec, e.g. cross-entropy:rank=easiest or rded:factor=2,crops=5"
    )
    epoch: str = option(
        "last",
        "checkpoint of every --expert: an epoch such as 12 or 0.25, last, or auto (by training accuracy)",
    )


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RuntimeOptions):
    """What experts and students have in common."""

    net: str = option("convnet-d3", "network spec, e.g. convnet-d3:norm=batch,width=64")
    epochs: int = option(1000, "passes over the training images", low=1)
    batch_size: int | None = option(
        None, "images a step; without: 10/50/100/200 by size, GIFT's rule", low=1
    )
    optimizer: str = option(
        "adamw", "optimizer spec, e.g. sgd:lr=0.01,momentum=0.9,weight-decay=5e-4"
    )
    schedule: str = option("multistep", "learning-rate schedule spec")
    warm_up: float = option(
        0.0, "epochs over which the learning rate rises before the schedule begins", low=0
    )
    augment: str = option("dsa", "augmentation spec, joined by +: dsa, dsa:mode=m, flip+crop, none")
    seed: int = option(
        0,
        "seed of weights, order and augmentation; of the first run where there are several",
        low=0,
    )


@dataclass(frozen=True, kw_only=True)
class TrainExpertOptions(TrainOptions):
    """`train-expert`: labelers from real images (defaults: LADD's and Label-Worth's recipe)."""

    epochs: int = option(10, "passes over the real images", low=1)
    batch_size: int = option(256, "images a step", low=1)
    optimizer: str = option("sgd:lr=0.01,momentum=0,weight-decay=0", "optimizer spec")
    schedule: str = option("constant", "learning-rate schedule spec")
    save_every: float = option(
        1.0, "epochs between checkpoints, fractions too; each is saved at a whole step", above=0
    )
    experts: int = option(1, "train this many, with seeds one after another", low=1)
    zca: bool = option(default=False, help="whiten the images (ZCA, ε = 0.1) inside the expert")
    protocol: str | None = option(
        None, "preset all this, e.g. to torchvision-imagenet's recipe", recorded=False
    )
    size: int | None = option(
        None, "of a folder of images: pixels of a side, as import has it", low=1, recorded=False
    )
    workers: int = option(
        2, "of a folder of images: processes that read them", low=0, recorded=False
    )


@dataclass(frozen=True, kw_only=True)
class TrialOptions(RuntimeOptions):
    """What every choice by quick students on held-out real images has (`auto` with --real)."""

    real: str | None = option(
        None, "with auto: bundle of real training images to hold some out of", recorded=False
    )
    trial_net: str = option(
        "convnet-d3:width=32", "with auto and --real: network of the quick students"
    )
    trial_steps: int = option(
        300, "with auto and --real: training steps of each quick student", low=1
    )
    trials: int = option(3, "with auto and --real: quick students for each choice", low=1)


@dataclass(frozen=True, kw_only=True)
class RelabelOptions(TrialOptions):
    """`relabel`: soft labels from experts."""

    epoch: str = option(
        "auto",
        "checkpoint of every expert without one of its own (RUN@12): an epoch such as 12 or 0.25, last, or auto: that "
        "of the best quick students with --real, else by training accuracy",
    )
    temperature: float | str = option(
        1.0,
        "softens the labels: softmax(logits / temperature); auto tries several with --real",
        above=0,
        auto=True,
    )
    mean: str = option(
        "logits",
        "of an ensemble: mean of logits, of probs, or of norm-balanced logits (G-VBSM)",
        choices=("logits", "probs", "balanced"),
    )
    weights: str | None = option(
        None, "weights of the experts in their order, e.g. 2,1,1 (default: equal)"
    )


@dataclass(frozen=True, kw_only=True)
class DensifyOptions(RelabelOptions):
    """`densify`: LADD's label for every view (LADD, section 3.1)."""

    views: str = option(
        "grid", "view layout spec, e.g. grid:n=5,r=0.625, random:count=9 or fkd:mix=cutmix"
    )
    seed: int = option(0, "seed of views that are drawn", low=0)
    refine: bool = option(
        default=False, help="mix in the hard label on the way, with the defaults of refine (GIFT)"
    )


@dataclass(frozen=True, kw_only=True)
class LearnOptions(DeviceOptions):
    """`learn`: soft labels by distillation, with the images fixed (Label-Worth, section 5.2)."""

    method: str = option("bptt", "learner spec: bptt:steps=200,window=60, or mtt:steps=20,ahead=1")
    iterations: int = option(1000, "updates of the labels", low=1)
    start: str = option(
        "hard",
        "labels to begin with: hard ones smoothed to 0.9, none, or the bundle's soft ones",
        choices=("hard", "uniform", "stored"),
    )
    optimizer: str = option("adam:lr=0.001,weight-decay=0", "optimizer spec of the labels")
    clip: float = option(
        1.0, "longest gradient of all labels together: a longer one is shortened to it", above=0
    )
    net: str = option("convnet-d3", "with bptt: network spec of the student")
    inner: str = option(
        "adam:lr=0.001", "optimizer spec of the student, that gradients pass: adam or sgd"
    )
    batch_size: int | None = option(
        None, "images a step of the student; without: GIFT's rule", low=1
    )
    augment: str = option("none", "augmentation spec of the student's images")
    seed: int = option(0, "seed of students, order, augmentation and real images", low=0)
    save_every: int = option(
        50, "iterations between saves of OUT.resume, to go on from", low=1, recorded=False
    )
    real: str | None = option(None, "with bptt: bundle of real images", recorded=False)
    expert: tuple[str, ...] = option(
        (), "with mtt: expert run, or a folder of runs", recorded=False
    )


@dataclass(frozen=True, kw_only=True)
class RefineOptions(TrialOptions):
    """`refine`: GIFT's mixture with the smoothed hard label (GIFT, section 4)."""

    field: str = option("soft", "which labels to refine", choices=("soft", "dense"))
    space: str = option(
        "probs", "mix into probs (paper) or raw logits (public code)", choices=("probs", "logits")
    )
    gamma: float | str = option(
        0.1,
        "weight of the smoothed hard label; auto tries several with --real",
        low=0,
        high=1,
        auto=True,
    )
    alpha: float = option(0.1, "label smoothing", low=0, high=1)
    smoothing: str = option(
        "others", "alpha goes to the other classes (paper) or to all", choices=("others", "all")
    )


@dataclass(frozen=True, kw_only=True)
class EditOptions(Options):
    """`edit`: labels changed on purpose (Label-Worth, section 4)."""

    op: tuple[str, ...] = option(
        (), "edit spec, e.g. top-k:k=3; several are carried out in their order"
    )
    field: str = option("soft", "which labels to edit", choices=("soft", "dense"))
    without_class: str | None = option(
        None, "class by name or number whose images to take out; labels keep it"
    )


@dataclass(frozen=True, kw_only=True)
class DescribeOptions(RuntimeOptions):
    """`describe`: figures of labels."""

    field: str = option("soft", "which labels to describe", choices=("soft", "dense"))
    against: str | None = option(
        None, "bundle of the same images whose labels to compare with", recorded=False
    )
    expert: tuple[str, ...] = option(
        (), "run whose every checkpoint's labels to compare with", recorded=False
    )


@dataclass(frozen=True, kw_only=True)
class CompressOptions(Options):
    """`compress`: labels in fewer bytes."""

    codec: str | None = option(None, "codec spec, e.g. float16 or top-k:k=5 (default: uint8)")
    budget: str | None = option(
        None, "instead: the nearest codec within this share of the images' bytes, e.g. 1%"
    )
    field: str = option("all", "which labels to compress", choices=("soft", "dense", "all"))
    prune: str | None = option(
        None, "views to keep of each image, e.g. random:keep=8 or entropy:keep=8,order=lowest"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.codec is not None and self.budget is not None:
            raise UsageError(
                "--codec says how to store labels and --budget chooses: leave out one of them"
            )
        if self.prune is not None and self.field == "soft":
            raise UsageError(
                "--prune is for views, and --field soft leaves those alone: leave out one of them"
            )
        if self.share is not None and not 0 < self.share < math.inf:
            raise UsageError(
                f"--budget is {self.budget!r}: expected a share above 0 of the images' bytes, such as 1%"
            )

    @property
    def share(self) -> float | None:
        """The budget as a fraction of the images' bytes; NaN if it is none."""
        if self.budget is None:
            return None
        try:
            return (
                float(self.budget.removesuffix("%")) / 100
                if self.budget.endswith("%")
                else math.nan
            )
        except ValueError:
            return math.nan


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(TrainOptions):
    """`evaluate`: students from scratch (defaults: GIFT, Table 15)."""

    AXES = ("labels", "net", "loss", "optimizer", "schedule", "augment", "mix")

    protocol: str | None = option(
        None, "preset the options of a paper's evaluation; 'list protocols' shows them"
    )
    labels: str = option(
        "auto",
        "which labels to learn from; online: those that --teacher gives each augmented batch",
        choices=("auto", "hard", "soft", "dense", "online"),
    )
    loss: str = option("soft-ce", "loss spec, e.g. kl:temperature=20,scale=false")
    mix: str = option("none", "blend images and their labels: cutmix, mixup, none")
    seeds: int = option(5, "students, with seeds one after another", low=1)
    stack: float | str = option(
        "auto",
        "students side by side; auto: what fits a GPU, one on a CPU",
        low=1,
        recorded=False,
        auto=True,
    )
    dense_batches: str = option(
        "mix",
        "with dense labels: mix draws images and views into batches at the cost of images alone (LADD, Fig. 3); "
        "sum adds the losses of all views of each image (LADD, Eq. 5), mean averages them",
        choices=("mix", "sum", "mean"),
    )
    global_labels: str = option(
        "hard", "with dense labels: label of the whole image", choices=("hard", "soft", "none")
    )
    dense_loss: str | None = option(
        None, "with dense labels: loss of the views (default: that of --loss)"
    )
    ema: float | None = option(
        None, "test a running mean of the weights, of this decay", above=0, high=0.9999
    )
    teacher: tuple[str, ...] = option(
        (), "expert run for online labels, several for an ensemble", recorded=False
    )
    teacher_epoch: str = option(
        "last", "checkpoint of every teacher: an epoch, last, or auto (early-stopped)"
    )
    zca: str | None = option(
        None, "bundle of real images to whiten the student's images by (ZCA)", recorded=False
    )
    select: str = option(
        "last",
        "the epoch that counts: val is the best on images held out from the bundle; best-on-test says that it chose so",
        choices=("last", "val", "best-on-test"),
    )
    holdout: float = option(
        0.2, "with --select val: share of each class to hold out", above=0, high=0.9
    )
    checks: int = option(
        20, "with --select val or best-on-test: how often to look, evenly over the epochs", low=1
    )
    continual: int | None = option(
        None, "class-incremental steps, a class order a seed (GDumb; GIFT, Fig. 2)", low=2
    )
    curve: bool = option(
        default=False, help="record the mean loss and gradient norm of every epoch"
    )
    confusion: bool = option(
        default=False, help="record the confusion matrix, true class by predicted class"
    )
    against: str | None = option(
        None, "bundle whose labels to compare with, seed by seed", recorded=False
    )
    control: str = option(
        "none",
        "random: as many random real images under the same protocol; scores: what DD-Ranking's scores need besides",
        choices=("none", "random", "scores"),
        recorded=False,
    )
    real: str | None = option(None, "with --control: bundle of all real images", recorded=False)
    real_epochs: int = option(
        30, "with --control scores: epochs on all real images", low=1, recorded=False
    )
    bundle: str | None = option(
        None, "bundle; without: the demo's digits", recorded=False, argument="BUNDLE"
    )
    test: str | None = option(None, "bundle of test images", recorded=False)
    out: str | None = option(
        None, "results file (.jsonl) to append one record a student to", recorded=False
    )
    table: str | None = option(
        None, "axes for rows and columns of the table, e.g. loss,optimizer", recorded=False
    )


@dataclass(frozen=True, kw_only=True)
class SweepOptions(Options):
    """`sweep`: one command over a grid of its options."""

    out: str = option(
        "sweep.jsonl", "results file (.jsonl) to append one record a finished cell to"
    )
    shard: str = option("1/1", "for job arrays, I/N from 1/N to N/N: of the cells I, I+N, I+2N, …")
    plan: bool = option(
        default=False, help="show the cells with FLOPs and an estimate of the time, and run none"
    )
    ray: bool = option(default=False, help="run the cells side by side on Ray")
    ray_address: str = option(
        "local", "with --ray: one of its own, or a cluster: HOST:PORT, ray://HOST:PORT or auto"
    )
    cpus_per_cell: int = option(1, "with --ray: CPU cores, and threads, of each cell", low=1)
    gpus_per_cell: float = option(
        0.0, "with --ray: GPUs of each cell, fractions too; with 0 it sees none", low=0
    )


def gift_batch_size(images: int) -> int:
    """Batch size by the number of images (GIFT, Table 15)."""
    return next(
        (size for limit, size in ((10, 10), (500, 50), (20_000, 100)) if images <= limit), 200
    )
