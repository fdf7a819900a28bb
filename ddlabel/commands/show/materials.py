"""What each kind of figure is drawn from, made of the subject and the options of `show`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ddlabel.commands.checkpoints import pick_checkpoints
from ddlabel.commands.labeling import label_images
from ddlabel.commands.show.attention import attention_of
from ddlabel.commands.show.subjects import Subject, one_run
from ddlabel.core.config import RelabelOptions, ShowOptions
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Array
from ddlabel.figures.epochs import LabelsByEpoch
from ddlabel.figures.registry import Kind, figures, kind_of, names_of

# Figures of a bundle that need an option, by their kind.
_OPTION_OF: Mapping[Kind, str] = {"epochs": "expert", "attention": "students"}
_INPUTS: Mapping[Kind, str] = {
    "bundle": "a bundle",
    "run": "an expert run",
    "results": "results",
    "epochs": "a bundle with --expert RUN",
    "attention": "a bundle of test images with --students FOLDER",
}


def drawable_kinds(subject: Subject, options: ShowOptions) -> list[Kind]:
    """Return the kinds of figures that can be drawn of a subject with these options.

    Raises:
        UsageError: An option is given that is only used with a bundle.
    """
    kinds = [subject.kind]
    for kind, option in _OPTION_OF.items():
        if getattr(options, option) is None:
            continue
        if subject.kind != "bundle":
            raise UsageError(
                f"--{option} is only used with a bundle, and this is {_INPUTS[subject.kind]}: "
                f"leave out --{option}"
            )
        kinds.append(kind)
    return kinds


def check_kind(name: str, kinds: list[Kind]) -> None:
    """Check that a figure is of one of the kinds that can be drawn.

    Raises:
        UsageError: It is not; the message says what it needs and what there is.
    """
    figures.get(name)
    kind = kind_of(name)
    if kind not in kinds:
        others = ", ".join(other for each in kinds for other in names_of(each))
        raise UsageError(
            f"--figure {name} draws {_INPUTS[kind]}, and this is {_INPUTS[kinds[0]]}: "
            f"choose one of {others}"
        )


def check_options_are_used(names: list[str], options: ShowOptions) -> None:
    """Refuse an option that no figure uses.

    Raises:
        UsageError: There is one.
    """
    for kind, option in _OPTION_OF.items():
        is_used = any(kind_of(name) == kind for name in names)
        if getattr(options, option) is not None and not is_used:
            users = " or ".join(names_of(kind))
            raise UsageError(f"--{option} is only used with --figure {users}: add that")


def materials_of(subject: Subject, kinds: list[Kind], options: ShowOptions) -> dict[Kind, Any]:
    """Return for each kind of figure what it is drawn from; the inputs of options are opened."""
    materials: dict[Kind, Any] = {subject.kind: subject.content}
    if "epochs" in kinds:
        materials["epochs"] = labels_by_epoch(subject.content, options)
    if "attention" in kinds:
        materials["attention"] = attention_of(subject.content, options)
    return materials


def labels_by_epoch(bundle: Bundle, options: ShowOptions) -> LabelsByEpoch:
    """Return the labels that the expert of the options gives at each of its epochs.

    Raises:
        InvalidInputError: The run has no checkpoint.
        IncompatibleError: The expert has other classes than the bundle, or takes other images.
    """
    run = one_run(str(options.expert))
    epochs = sorted(run.epochs.values())
    if not epochs:
        raise InvalidInputError(f"{run.folder}: the expert run has no checkpoint yet: train it on")
    relabel_options = RelabelOptions(**options.runtime_settings)
    every = [pick_checkpoints(bundle, [run], repr(epoch)) for epoch in epochs]

    def label(image: int) -> Array:
        one_image = bundle.without_views().take(np.array([image]))
        labels = [label_images(one_image, each, relabel_options).labels("soft") for each in every]
        return np.concatenate([each.probs() for each in labels])

    return LabelsByEpoch(bundle=bundle, epochs=epochs, label=label)
