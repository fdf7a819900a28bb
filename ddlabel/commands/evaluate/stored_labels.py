"""How the stored labels of a bundle were made, to label other images in the same way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddlabel.commands.labeling import label_images, label_views
from ddlabel.core.config import EvaluateOptions, RelabelOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import Checkpoint, Checkpoints
from ddlabel.data.labels import Views
from ddlabel.data.provenance import Entry, Input

# The command that makes the labels of a field.
_COMMANDS = {"soft": "relabel", "dense": "densify"}
# How an ensemble is combined, and in which precision: options of that command.
_SETTINGS = ("ensemble", "weights", "precision")


@dataclass(frozen=True, kw_only=True)
class StoredLabeler:
    """Labels images as the soft or dense labels of a bundle were made.

    Attributes:
        field: The labels, soft or dense.
        experts: The checkpoints, in their order.
        options: Temperature, ensemble, weights and precision. In place of any but float32, it is
            the precision of the evaluation: this machine may lack the units.
        views: The views of dense labels.
    """

    field: str
    experts: Checkpoints
    options: RelabelOptions
    views: Views | None = None

    @property
    def digest(self) -> str:
        """The digest that stands for the checkpoints."""
        return " + ".join(checkpoint.digest for checkpoint in self.experts)

    def label(self, images: Bundle) -> Bundle:
        """Return images with these labels."""
        if self.views is None:
            return label_images(images, self.experts, self.options)
        return label_views(images, Views(boxes=self.views.boxes), self.experts, self.options)


def labelers_of(
    options: EvaluateOptions, bundle: Bundle, teacher: Checkpoints
) -> list[StoredLabeler]:
    """Return what made the stored labels that students with these options learn from.

    The checkpoints are those of the bundle's history, among the runs of `teacher`, and so are the
    weights of an ensemble. Where the history does not tell, they are those of `teacher`.

    Raises:
        UsageError: There is no teacher.
        IncompatibleError: The labels are not logits or were made by other experts, or the views are
            flipped or mixed.
    """
    used = (options.labels, options.global_labels)
    labelers = []
    for field in ("dense", "soft"):
        if field not in used:
            continue
        _check_can_label(bundle, field, teacher)
        entry = _made_by(bundle, field)
        settings = {**options.runtime_settings, **_settings_of(entry)}
        if settings["precision"] != "fp32":
            settings["precision"] = options.precision
        temperature = bundle.labels(field).meta.temperature
        labelers.append(
            StoredLabeler(
                field=field,
                experts=_experts_of(entry, field, teacher),
                options=RelabelOptions(temperature=temperature, **settings),
                views=bundle.views if field == "dense" else None,
            )
        )
    return labelers


def _made_by(bundle: Bundle, field: str) -> Entry | None:
    """Return the command of the history that made the labels."""
    entries = [entry for entry in bundle.history if entry.command == _COMMANDS[field]]
    return entries[-1] if entries else None


def _settings_of(entry: Entry | None) -> Mapping[str, Any]:
    """Return how the command combined its experts; the values of a stranger's history are texts."""
    settings = {}
    for name in _SETTINGS:
        value = None if entry is None else entry.options.get(name)
        if value is not None:
            settings[name] = str(value)
    return settings


def _experts_of(entry: Entry | None, field: str, teacher: Checkpoints) -> Checkpoints:
    """Return the checkpoints of the command, among all those of the teacher's runs."""
    if entry is None:
        return teacher
    made_by = [given for given in entry.inputs if given.role == "expert"]
    found = [_find(expert, teacher) for expert in made_by]
    known = [checkpoint for checkpoint in found if checkpoint is not None]
    if len(known) == len(made_by):
        return known
    wanted = " ".join(f"--teacher {expert.name}" for expert in made_by)
    raise IncompatibleError(
        f"--control: the bundle's {field} labels were made by other experts than those of "
        f"--teacher: give {wanted}"
    )


def _find(expert: Input, teacher: Checkpoints) -> Checkpoint | None:
    """Return the checkpoint of an expert in a history, which ends with its epoch: `expert@5.5`."""
    epoch = expert.name.rpartition("@")[2]
    for run, chosen in teacher:
        steps = [step for step in run.epochs if f"{run.epoch_of(step):g}" == epoch]
        for step in dict.fromkeys([*steps, chosen]):
            if run.digest(step) == expert.sha256:
                return Checkpoint(run, step)
    return None


def _check_can_label(bundle: Bundle, field: str, teacher: Checkpoints) -> None:
    """Check that images can be labelled as the bundle's field is."""
    views = bundle.views if field == "dense" else None
    if views is not None and (views.flip is not None or views.mix is not None):
        raise IncompatibleError(
            "--control: random images can have the views of a grid, but these views are flipped or "
            "mixed: use 'densify --views grid'"
        )
    space = bundle.labels(field).meta.space
    if space != "logits":
        raise IncompatibleError(
            f"--control: the bundle's {field} labels are {space}, and random images can only be "
            "given an expert's logits: evaluate unrefined labels, e.g. with --loss gift"
        )
    if not teacher:
        raise UsageError(
            f"--control: the bundle's {field} labels are those of an expert: name it with "
            "--teacher to label random images"
        )
