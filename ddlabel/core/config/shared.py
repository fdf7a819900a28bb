"""Options that several commands have."""

from dataclasses import dataclass, fields
from typing import Any

from ddlabel.core.option import MACHINE, OUTPUT, TRAINING, TRIALS, option
from ddlabel.core.options import Options
from ddlabel.core.protocols import DATASETS


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """Options of every command that runs networks."""

    PANEL = MACHINE

    device: str = option(
        "auto", "cpu, cuda, cuda:1, …; auto takes a GPU where there is one", recorded=False
    )


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions(DeviceOptions):
    """Options of commands that can compile networks and compute in reduced precision."""

    PANEL = MACHINE

    compile: str = option(
        "auto",
        "torch.compile; auto compiles where that saves time",
        choices=("auto", "on", "off"),
        recorded=False,
    )
    precision: str = option(
        "auto",
        "arithmetic of networks; auto is bf16 where the device has units for it, else fp32 (on a "
        "CPU also to train networks with depthwise convolutions, and for 'select')",
        choices=("auto", "fp32", "tf32", "bf16", "fp16"),
    )

    @property
    def runtime_settings(self) -> dict[str, Any]:
        """The values of these options by name, for another config that runs on the same machine."""
        names = [declared.name for declared in fields(RuntimeOptions)]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RuntimeOptions):
    """Options of the training of experts and students."""

    PANEL = TRAINING

    net: str = option("convnet-d3", "network spec, e.g. convnet-d3:norm=batch,width=64")
    epochs: int = option(1000, "passes over the training images", low=1)
    batch_size: int | None = option(
        None, "images in a step (default: 10, 50, 100 or 200 by their number, GIFT's rule)", low=1
    )
    optimizer: str = option(
        "adamw", "optimizer spec, e.g. sgd:lr=0.01,momentum=0.9,weight-decay=5e-4"
    )
    schedule: str = option("multistep", "learning-rate schedule spec")
    warm_up: float = option(
        0.0, "epochs over which the learning rate rises before the schedule begins", low=0
    )
    augment: str = option(
        "dsa", "augmentation specs, joined by +: dsa, dsa:mode=m, flip+crop, none"
    )
    seed: int = option(
        0,
        "seed of weights, order and augmentation; of the first run where there are several",
        low=0,
    )


@dataclass(frozen=True, kw_only=True)
class TrialOptions(RuntimeOptions):
    """Options of a choice by trial: quick students are tested on held-out real images.

    A command of this kind declares the option `real` again, with the options that it chooses.
    """

    PANEL = TRIALS

    real: str | None = option(None, "bundle of real training images", recorded=False)
    trial_net: str = option(
        "convnet-d3:width=32", "network of the quick students", only_with="real"
    )
    trial_steps: int = option(300, "training steps of each quick student", low=1, only_with="real")
    trials: int = option(3, "quick students for each choice", low=1, only_with="real")


def trial_images(*chosen: str) -> str | None:
    """Declare the option `real` of a command that chooses options by trial.

    Args:
        chosen: Conditions under which it is used, such as `temperature=auto`.
    """
    return option(
        None,
        "bundle of real training images, of which some are held out to test quick students on",
        recorded=False,
        only_with=chosen,
    )


def protocol_dataset() -> str | None:
    """Declare the option `dataset` of a command whose protocols depend on the data set."""
    return option(
        None,
        "real data set, for a protocol that depends on it, where the numbers of classes and pixels "
        "do not tell",
        choices=tuple(DATASETS),
        only_with="protocol",
        panel=TRAINING,
    )


def log_option() -> str | None:
    """Declare the option `log` of a command that trains: see `commands/loggers.py`."""
    return option(
        None,
        "logger spec: tensorboard:folder=runs, or wandb:project=ddlabel,mode=offline",
        recorded=False,
        panel=OUTPUT,
    )


def expert_epoch(owner: str, only_with: str = "", by_trial: str = "") -> str:
    """Declare the option that picks the checkpoint of every expert. Its default is `auto`.

    Args:
        owner: The word for the experts, such as `expert` or `teacher`.
        only_with: The option that names them, if the command does without.
        by_trial: When `auto` chooses by trial, if it can.
    """
    return option(
        "auto",
        f"checkpoint of every {owner} that does not name one itself (RUN@12): an epoch such as 12 "
        "or 0.25, last, or auto: the first whose training accuracy suits the images per class"
        + by_trial,
        only_with=only_with or (),
    )


def gift_batch_size(num_images: int) -> int:
    """Return the batch size for a number of training images (GIFT, Table 15)."""
    if num_images <= 10:
        return 10
    if num_images <= 500:
        return 50
    if num_images <= 20_000:
        return 100
    return 200
