"""Every option of every command, once: name, type, default, help and bounds.

The command line, `--config FILE.toml`, the Python call and the history of a bundle are all made from these classes.
"""

import itertools
import tomllib
import types
import typing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from ddlabel import protocols
from ddlabel.errors import InvalidInputError, UsageError
from ddlabel.registry import nearest, split_specs

T = TypeVar("T")
# The tables that a configuration file may have.
COMMANDS = ("import", "select", "train-expert", "relabel", "densify", "learn", "refine", "edit", "describe", "evaluate")


def option(
    default: T,
    help: str,  # noqa: A002 - the name that typer and argparse use
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    recorded: bool = True,
    argument: str | None = None,
    auto: bool = False,
) -> T:
    """A field of a config: `low` and `high` are the ends of its range, `above` is a lower end that is left out.

    Not `recorded` are options that change how the work is done and not what comes out. An `argument` is given by its
    place and not by a flag, and stands in the usage under that name. With `auto` it is a number or that word.
    """
    bounds = {"low": low, "high": high, "above": above}
    metadata = {"help": help, "choices": choices, "recorded": recorded, "argument": argument, "auto": auto, **bounds}
    value: T = field(default=default, metadata=metadata)
    return value


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all configs: checked when made, read from TOML, written to history.

    The fields in `AXES` can be given several values, of which every combination is one config.
    """

    AXES: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each.name, getattr(self, each.name), each.metadata)

    @classmethod
    def load(cls, command: str, path: Path | None, given: dict[str, Any]) -> list[Self]:
        """The configs of a TOML file's table [command], over its top level, with what was given on top.

        There is one for each combination of the values of the axes. What a protocol presets lies below all that.

        Raises:
            InvalidInputError: if the file cannot be read.
            UsageError: for an unknown key or a value of another type or out of range.
        """
        values = {} if path is None else _read_toml(path, command)
        hints = typing.get_type_hints(cls)
        known = [each.name for each in fields(cls)]
        for key, value in values.items():
            if key not in known:
                raise UsageError(f"{path}: unknown option {key!r} for {command}: {nearest(key, known)}")
            values[key] = _typed(value, hints[key], f"{path}: {key}", several=key in cls.AXES)
        values |= {key: value for key, value in given.items() if value not in (None, [])}
        for each in (each for each in fields(cls) if each.metadata["auto"] and each.name in values):
            values[each.name] = _number_or_auto(each.name, values[each.name])
        axes = [key for key in cls.AXES if key in values]
        several = itertools.product(*(_several(key, values[key]) for key in axes))
        return [cls._of(values | dict(zip(axes, choice, strict=True))) for choice in several]

    @classmethod
    def _of(cls, values: dict[str, Any]) -> Self:
        """One config: defaults, under its protocol's presets for its network, under these values."""
        preset = protocols.preset(values.get("protocol"), values.get("net"))
        return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in (preset | values).items()})

    def recorded(self) -> dict[str, Any]:
        """The options that decide the outcome, for history and result records."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.metadata["recorded"]}


@dataclass(frozen=True, kw_only=True)
class ImportOptions(Options):
    """`import`: foreign files to a bundle."""

    format: str = option(
        "auto", "kind of source; auto looks at it", choices=("auto", "folder", "cifar", "idx", "npz", "pt")
    )
    split: str | None = option(None, "part of the data set: train, val or test (default: train, where it has parts)")
    size: int | None = option(None, "resize the short side to this many pixels and crop the centre", low=1)
    rgb: bool = option(default=False, help="turn grey images into RGB")
    pixels: str | None = option(
        None, "pixel space of .pt and .npz images", choices=("uint8", "unit", "normalised", "zca")
    )
    mean: str | None = option(
        None, "channel means in unit space, e.g. 0.4914,0.4822,0.4465, or one number for all; without: of these images"
    )
    std: str | None = option(None, "channel deviations in unit space; without: of these images")
    label_space: str | None = option(None, "what (N, K) labels of a .pt or .npz are", choices=("logits", "probs"))
    zca_from: str | None = option(None, "bundle of real images that --pixels zca was fitted on", recorded=False)
    class_names: str | None = option(None, "comma-separated class names, where the source has none")

    @property
    def part(self) -> str:
        """The part to read of a data set that has parts."""
        return self.split or "train"


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """What every command that runs networks has."""

    device: str = option("auto", "cpu, cuda, cuda:1, …; auto takes a GPU where there is one", recorded=False)


@dataclass(frozen=True, kw_only=True)
class MachineOptions(DeviceOptions):
    """What those have that may compile them."""

    compile: str = option("auto", "torch.compile: auto weighs it", choices=("auto", "on", "off"), recorded=False)


@dataclass(frozen=True, kw_only=True)
class SelectOptions(MachineOptions):
    """`select`: a few images of each class."""

    ipc: int = option(10, "images per class", low=1)
    seed: int = option(0, "seed of the draw", low=0)
    method: str = option("random", "selector spec, e.g. cross-entropy:rank=easiest or rded:factor=2,crops=5")
    epoch: str = option(
        "last", "checkpoint of every --expert: an epoch such as 12 or 0.25, last, or auto (by training accuracy)"
    )


@dataclass(frozen=True, kw_only=True)
class TrainOptions(MachineOptions):
    """What experts and students have in common."""

    net: str = option("convnet-d3", "network spec, e.g. convnet-d3:norm=batch,width=64")
    epochs: int = option(1000, "passes over the training images", low=1)
    batch_size: int | None = option(
        None, "images a step; without: GIFT's rule 10/50/100/200 by the bundle's size", low=1
    )
    optimizer: str = option("adamw", "optimizer spec, e.g. sgd:lr=0.01,momentum=0.9,weight-decay=5e-4")
    schedule: str = option("multistep", "learning-rate schedule spec")
    warm_up: float = option(0.0, "epochs over which the learning rate rises before the schedule begins", low=0)
    augment: str = option("dsa", "augmentation spec, joined by +: dsa, dsa:mode=m, flip+crop, none")
    seed: int = option(0, "seed of weights, order and augmentation; of the first run where there are several", low=0)


@dataclass(frozen=True, kw_only=True)
class TrainExpertOptions(TrainOptions):
    """`train-expert`: labelers from real images (defaults: LADD's and Label-Worth's recipe)."""

    epochs: int = option(10, "passes over the real images", low=1)
    batch_size: int = option(256, "images a step", low=1)
    optimizer: str = option("sgd:lr=0.01,momentum=0,weight-decay=0", "optimizer spec")
    schedule: str = option("constant", "learning-rate schedule spec")
    save_every: float = option(1.0, "epochs between checkpoints, fractions too; each is saved at a whole step", above=0)
    experts: int = option(1, "train this many, with seeds one after another", low=1)
    zca: bool = option(default=False, help="whiten the images (ZCA, ε = 0.1) inside the expert")


@dataclass(frozen=True, kw_only=True)
class TrialOptions(MachineOptions):
    """What every choice by quick students on held-out real images has (`auto` with --real)."""

    real: str | None = option(None, "with auto: bundle of real training images to hold some out of", recorded=False)
    trial_net: str = option("convnet-d3:width=32", "with auto and --real: network of the quick students")
    trial_steps: int = option(300, "with auto and --real: training steps of each quick student", low=1)
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
        1.0, "softens the labels: softmax(logits / temperature); auto tries several with --real", above=0, auto=True
    )
    mean: str = option(
        "logits",
        "of an ensemble: mean of logits, of probs, or of norm-balanced logits (G-VBSM)",
        choices=("logits", "probs", "balanced"),
    )
    weights: str | None = option(None, "weights of the experts in their order, e.g. 2,1,1 (default: equal)")


@dataclass(frozen=True, kw_only=True)
class DensifyOptions(RelabelOptions):
    """`densify`: LADD's label for every view (LADD, section 3.1)."""

    views: str = option("grid", "view layout spec, e.g. grid:n=5,r=0.625, random:count=9 or fkd:mix=cutmix")
    seed: int = option(0, "seed of views that are drawn", low=0)
    refine: bool = option(default=False, help="mix in the hard label on the way, with the defaults of refine (GIFT)")


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
    clip: float = option(1.0, "longest gradient of all labels together: a longer one is shortened to it", above=0)
    net: str = option("convnet-d3", "with bptt: network spec of the student")
    inner: str = option("adam:lr=0.001", "optimizer spec of the student, that gradients pass: adam or sgd")
    batch_size: int | None = option(None, "images a step of the student; without: GIFT's rule", low=1)
    augment: str = option("none", "augmentation spec of the student's images")
    seed: int = option(0, "seed of students, order, augmentation and real images", low=0)
    save_every: int = option(
        50, "iterations between saves of OUT.resume, which a killed run goes on from", low=1, recorded=False
    )
    real: str | None = option(None, "with bptt: bundle of real images", recorded=False)
    expert: tuple[str, ...] = option((), "with mtt: expert run, or a folder of runs", recorded=False)


@dataclass(frozen=True, kw_only=True)
class RefineOptions(TrialOptions):
    """`refine`: GIFT's mixture with the smoothed hard label (GIFT, section 4)."""

    field: str = option("soft", "which labels to refine", choices=("soft", "dense"))
    space: str = option(
        "probs", "mix into probabilities (paper) or raw logits (public code)", choices=("probs", "logits")
    )
    gamma: float | str = option(
        0.1, "weight of the smoothed hard label; auto tries several with --real", low=0, high=1, auto=True
    )
    alpha: float = option(0.1, "label smoothing", low=0, high=1)
    smoothing: str = option(
        "others", "alpha is shared by the other classes (paper) or by all of them", choices=("others", "all")
    )


@dataclass(frozen=True, kw_only=True)
class EditOptions(Options):
    """`edit`: labels changed on purpose (Label-Worth, section 4)."""

    op: tuple[str, ...] = option((), "edit spec, e.g. top-k:k=3; several are carried out in their order")
    field: str = option("soft", "which labels to edit", choices=("soft", "dense"))
    without_class: str | None = option(None, "class by name or number whose images to take out; labels keep it")


@dataclass(frozen=True, kw_only=True)
class DescribeOptions(MachineOptions):
    """`describe`: figures of labels."""

    field: str = option("soft", "which labels to describe", choices=("soft", "dense"))
    against: str | None = option(None, "bundle of the same images whose labels to compare with", recorded=False)
    expert: tuple[str, ...] = option(
        (), "expert run whose every checkpoint's labels to compare with, several for an ensemble", recorded=False
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(TrainOptions):
    """`evaluate`: students from scratch (defaults: GIFT, Table 15)."""

    AXES = ("labels", "net", "loss", "optimizer", "schedule", "augment", "mix")

    protocol: str | None = option(None, "preset the options of a paper's evaluation; 'list protocols' shows them")
    labels: str = option(
        "auto",
        "which labels to learn from; online: those that --teacher gives each augmented batch",
        choices=("auto", "hard", "soft", "dense", "online"),
    )
    loss: str = option("soft-ce", "loss spec, e.g. kl:temperature=20,scale=false")
    mix: str = option("none", "blend images and their labels: cutmix, mixup, none")
    seeds: int = option(5, "students, with seeds one after another", low=1)
    dense_batches: str = option(
        "mix",
        "with dense labels: mix draws images and views into batches at the cost of images alone (LADD, Fig. 3); "
        "sum adds the losses of all views of each image (LADD, Eq. 5), mean averages them",
        choices=("mix", "sum", "mean"),
    )
    global_labels: str = option("hard", "with dense labels: label of the whole image", choices=("hard", "soft", "none"))
    dense_loss: str | None = option(None, "with dense labels: loss of the views (default: that of --loss)")
    ema: float | None = option(None, "test a running mean of the weights, of this decay", above=0, high=0.9999)
    teacher: tuple[str, ...] = option((), "expert run for online labels, several for an ensemble", recorded=False)
    teacher_epoch: str = option("last", "checkpoint of every teacher: an epoch, last, or auto (early-stopped)")
    zca: str | None = option(None, "bundle of real images to whiten the student's images by (ZCA)", recorded=False)
    select: str = option(
        "last",
        "the epoch that counts: val is the best on images held out from the bundle; best-on-test says that it chose so",
        choices=("last", "val", "best-on-test"),
    )
    holdout: float = option(0.2, "with --select val: share of each class to hold out", above=0, high=0.9)
    checks: int = option(20, "with --select val or best-on-test: how often to look, evenly over the epochs", low=1)
    continual: int | None = option(None, "class-incremental steps, a class order a seed (GDumb; GIFT, Fig. 2)", low=2)
    curve: bool = option(default=False, help="record the mean loss and gradient norm of every epoch")
    confusion: bool = option(default=False, help="record the confusion matrix, true class by predicted class")
    against: str | None = option(None, "bundle whose labels to compare with, seed by seed", recorded=False)
    control: str = option(
        "none",
        "random: as many random real images under the same protocol; scores: what DD-Ranking's scores need besides",
        choices=("none", "random", "scores"),
        recorded=False,
    )
    real: str | None = option(None, "with --control: bundle of all real images", recorded=False)
    real_epochs: int = option(30, "with --control scores: epochs on all real images", low=1, recorded=False)
    bundle: str | None = option(
        None, "bundle to learn from; without bundle and test: the demo's digits", recorded=False, argument="BUNDLE"
    )
    test: str | None = option(None, "bundle of test images", recorded=False)
    out: str | None = option(None, "results file (.jsonl) to append one record a student to", recorded=False)
    table: str | None = option(None, "axes for rows and columns of the table, e.g. loss,optimizer", recorded=False)


def gift_batch_size(images: int) -> int:
    """Batch size by the number of images (GIFT, Table 15)."""
    return next((size for limit, size in ((10, 10), (500, 50), (20_000, 100)) if images <= limit), 200)


def _number_or_auto(name: str, value: float | str) -> float | str:
    try:
        return value if value == "auto" else float(value)
    except ValueError:
        raise UsageError(f"--{name} is {value!r}: expected a number, or auto") from None


def _check(name: str, value: Any, rules: Any) -> None:
    """Check a value against the bounds of its field."""
    flag = f"--{name.replace('_', '-')}"
    if rules["choices"] and value is not None and value not in rules["choices"]:
        raise UsageError(f"{flag} is {value!r}: {nearest(str(value), rules['choices'])}")
    if value is None or isinstance(value, str | bool):
        return
    low, high, above = rules["low"], rules["high"], rules["above"]
    fits = (low is None or value >= low) and (high is None or value <= high) and (above is None or value > above)
    if not fits or value != value:  # NaN compares false with every bound
        ends = [("at least", low), ("above", above), ("at most", high)]
        expected = " and ".join(f"{word} {end:g}" for word, end in ends if end is not None)
        raise UsageError(f"{flag} is {value}: expected {expected or 'a number'}")


def _read_toml(path: Path, command: str) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path}: cannot be read as TOML: {error}") from error
    for name in (key for key, value in content.items() if isinstance(value, dict)):
        if name not in COMMANDS:
            raise UsageError(f"{path}: there is no command for the table [{name}]: {nearest(name, COMMANDS)}")
    plain = {key: value for key, value in content.items() if not isinstance(value, dict)}
    return {key.replace("-", "_"): value for key, value in (plain | content.get(command, {})).items()}


def _typed(value: Any, annotation: Any, what: str, *, several: bool) -> Any:
    """A value of a TOML file as the type that a field has; a list where it can have several."""
    if typing.get_origin(annotation) is tuple or (several and isinstance(value, list)):
        parts = value if isinstance(value, list) else [value]
        return [_typed(part, str, what, several=False) for part in parts]
    members = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    if float in members and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, members) or (isinstance(value, bool) and bool not in members):
        raise UsageError(f"{what} is {value!r}: expected {getattr(annotation, '__name__', annotation)}")
    return value


def _several(key: str, value: Any) -> list[str]:
    """The values of an axis: given repeatedly, or separated by commas."""
    values = [spec for text in ([value] if isinstance(value, str) else value) for spec in split_specs(text)]
    if not values or len(set(values)) < len(values):
        given = value if isinstance(value, str) else ",".join(value)
        raise UsageError(f"--{key.replace('_', '-')} is {given!r}: expected one value or several different ones")
    return values
