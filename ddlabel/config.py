"""Every option of every command, once: name, type, default, help and bounds.

The command line, `--config FILE.toml`, the Python call and the history of a bundle are all made from these classes.
"""

from __future__ import annotations

import tomllib
import types
import typing
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Self, TypeVar

from ddlabel.errors import InvalidInputError, UsageError
from ddlabel.registry import nearest

T = TypeVar("T")
# The tables that a configuration file may have.
COMMANDS = ("import", "select", "train-expert", "relabel", "densify", "refine", "evaluate")


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
) -> T:
    """A field of a config: `low` and `high` are the ends of its range, `above` is a lower end that is left out.

    Not `recorded` are options that change how the work is done and not what comes out. An `argument` is given by its
    place and not by a flag, and stands in the usage under that name.
    """
    bounds = {"low": low, "high": high, "above": above}
    metadata = {"help": help, "choices": choices, "recorded": recorded, "argument": argument, **bounds}
    value: T = field(default=default, metadata=metadata)
    return value


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all configs: checked when made, read from TOML, written to history."""

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each.name, getattr(self, each.name), each.metadata)

    @classmethod
    def load(cls, command: str, path: Path | None, given: dict[str, Any]) -> Self:
        """The config of a TOML file's table [command], over its top level, with what was given on top.

        Raises:
            InvalidInputError: if the file cannot be read.
            UsageError: for an unknown key or a value of another type or out of range.
        """
        values = {} if path is None else _read_toml(path, command)
        known = {each.name: typing.get_type_hints(cls)[each.name] for each in fields(cls)}
        for key, value in values.items():
            if key not in known:
                raise UsageError(f"{path}: unknown option {key!r} for {command}: {nearest(key, known)}")
            if not isinstance(value, _types(known[key])) or (
                isinstance(value, bool) and bool not in _types(known[key])
            ):
                raise UsageError(f"{path}: {key} is {value!r}: expected {_type_name(known[key])}")
            if float in _types(known[key]) and isinstance(value, int):
                values[key] = float(value)
        return cls(**values | {key: value for key, value in given.items() if value is not None})

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
class SelectOptions(Options):
    """`select`: a few images of each class."""

    ipc: int = option(10, "images per class", low=1)
    seed: int = option(0, "seed of the draw", low=0)


@dataclass(frozen=True, kw_only=True)
class MachineOptions(Options):
    """What every command that runs networks has."""

    device: str = option("auto", "cpu, cuda, cuda:1, …; auto takes a GPU where there is one", recorded=False)
    compile: str = option("auto", "torch.compile: auto weighs it", choices=("auto", "on", "off"), recorded=False)


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
    augment: str = option("dsa", "augmentation spec: dsa, dsa:mode=m, flip-crop, none")
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
class RelabelOptions(MachineOptions):
    """`relabel`: soft labels from experts."""

    epoch: str = option(
        "auto", "checkpoint of every expert: an epoch such as 12 or 0.25, last, or auto (early-stopped)"
    )
    temperature: float = option(1.0, "softens the labels: softmax(logits / temperature)", above=0)


@dataclass(frozen=True, kw_only=True)
class DensifyOptions(RelabelOptions):
    """`densify`: LADD's label for every view (LADD, section 3.1)."""

    n: int = option(5, "views along each side: N × N in all", low=1, high=64)
    r: float = option(0.625, "share of each side that a view covers", above=0, high=1)


@dataclass(frozen=True, kw_only=True)
class RefineOptions(Options):
    """`refine`: GIFT's mixture with the smoothed hard label (GIFT, section 4)."""

    field: str = option("soft", "which labels to refine", choices=("soft", "dense"))
    space: str = option(
        "probs", "mix into probabilities (paper) or raw logits (public code)", choices=("probs", "logits")
    )
    gamma: float = option(0.1, "weight of the smoothed hard label", low=0, high=1)
    alpha: float = option(0.1, "label smoothing", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(TrainOptions):
    """`evaluate`: students from scratch (defaults: GIFT, Table 15)."""

    labels: str = option("auto", "which labels to learn from", choices=("auto", "hard", "soft", "dense"))
    loss: str = option("soft-ce", "loss spec, e.g. kl:temperature=20,scale=false")
    seeds: int = option(5, "students, with seeds one after another", low=1)
    dense_batches: str = option(
        "mix",
        "with dense labels: mix draws images and views into batches at the cost of images alone (LADD, Fig. 3); "
        "sum adds the losses of all views of each image (LADD, Eq. 5)",
        choices=("mix", "sum"),
    )
    bundle: str | None = option(
        None, "bundle to learn from; without bundle and test: the demo's digits", recorded=False, argument="BUNDLE"
    )
    test: str | None = option(None, "bundle of test images", recorded=False)
    out: str | None = option(None, "results file (.jsonl) to append one record a student to", recorded=False)
    global_labels: str = option("hard", "with dense labels: label of the whole image", choices=("hard", "soft", "none"))


def gift_batch_size(images: int) -> int:
    """Batch size by the number of images (GIFT, Table 15)."""
    return next((size for limit, size in ((10, 10), (500, 50), (20_000, 100)) if images <= limit), 200)


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


def _types(annotation: Any) -> tuple[type, ...]:
    """The types that a value in a TOML file may have."""
    members = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return (*members, int) if float in members else members


def _type_name(annotation: Any) -> str:
    return getattr(annotation, "__name__", str(annotation))


def default_of(config: type[Options], name: str) -> Any:
    """A field's default value."""
    default = next(each.default for each in fields(config) if each.name == name)
    return None if default is MISSING else default
