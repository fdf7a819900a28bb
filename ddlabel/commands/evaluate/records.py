"""The records of students: what identifies one, and which figures it has."""

from typing import Any

from ddlabel import __version__
from ddlabel.commands.evaluate.experiment import Experiment, Student
from ddlabel.commands.evaluate.monitor import Weights
from ddlabel.core.config import EvaluateOptions
from ddlabel.data import saved_students
from ddlabel.data.record import Record, key_of
from ddlabel.data.saved_students import SavedStudent, student_path


def student_key(experiment: Experiment, seed: int) -> str:
    """Return the sha256 of everything that decides the outcome of a student.

    Options that only add figures to the record, such as `curve`, are left out.
    """
    return key_of(
        "student",
        version=__version__,
        inputs=experiment.digests,
        options=_of_student(experiment.options.key_options(), seed),
        role=experiment.role,
    )


def student_record(
    experiment: Experiment, seed: int, *, result: dict[str, Any], cost: dict[str, Any]
) -> Record:
    """Return the record of a student with its figures and its cost."""
    options = _of_student(experiment.options.recorded(), seed)
    overridden = {
        name: value
        for name, value in experiment.preset.items()
        if options.get(name, value) != value
    }
    # A teacher is an input of online labels only.
    roles = [role for role in experiment.origins if role in experiment.digests]
    return Record(
        kind="student",
        key=student_key(experiment, seed),
        version=__version__,
        inputs=experiment.digests,
        options=options,
        result=result,
        cost=cost,
        role=experiment.role,
        protocol_overridden=overridden,
        origins={role: experiment.origins[role] for role in roles},
    )


def has_figures(record: Record, options: EvaluateOptions) -> bool:
    """Return whether a student's record has the figures that the options ask for.

    A class-incremental student has them in each of its steps.
    """
    asked = [name for name in options.figure_options() if getattr(options, name)]
    parts = record.result.get("steps", [record.result])
    return all(name in part for part in parts for name in asked)


def has_all(record: Record, options: EvaluateOptions) -> bool:
    """Return whether a student's record has the figures that are asked for, and its file is there.

    With `save_students` a student is trained again whose weights are not in the folder.
    """
    is_kept = (
        options.save_students is None or student_path(options.save_students, record.key).exists()
    )
    return is_kept and has_figures(record, options)


def save_student(folder: str, student: Student, accuracy: float, weights: Weights) -> None:
    """Keep a student with its weights in a folder.

    Raises:
        StorageError: The operating system refuses.
    """
    experiment = student.experiment
    pixels = student.bundle.pixels
    about = SavedStudent(
        key=student_key(experiment, student.seed),
        net=experiment.options.net,
        classes=student.bundle.classes,
        channels=student.bundle.images.shape[1],
        size=student.bundle.side,
        mean=pixels.mean,
        std=pixels.std,
        bundle=experiment.origins.get("bundle", {}).get("name", experiment.digests["bundle"][:8]),
        inputs=experiment.digests,
        options=_of_student(experiment.options.recorded(), student.seed),
        accuracy=accuracy,
    )
    arrays = {name: tensor.cpu().numpy() for name, tensor in weights.items()}
    saved_students.save(folder, about, arrays)


def _of_student(options: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the options of an experiment as those of one of its students."""
    options = {name: value for name, value in options.items() if name != "seeds"}
    return options | {"seed": seed}
