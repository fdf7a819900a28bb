"""Small students, trained in float32 in a second, for tests of evaluation and of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from samples import make_bundle

from ddlabel.commands.evaluate.experiment import Experiment, settle
from ddlabel.commands.evaluate.grid import train_students
from ddlabel.core.config import EvaluateOptions
from ddlabel.data.bundle import Bundle
from ddlabel.data.record import Record

QUICK = {
    "net": "convnet-d1:width=8",
    "epochs": 15,
    "augment": "none",
    "optimizer": "adam:lr=0.01",
    "precision": "fp32",
}


def easy_bundle(images: int = 30, seed: int = 0) -> Bundle:
    """Images that are easy to learn: class i is bright in column i."""
    bundle = make_bundle(images=images, seed=seed)
    pixels = np.random.default_rng(seed).integers(0, 60, bundle.images.shape).astype(np.uint8)
    for row, hard_label in enumerate(bundle.hard_labels):
        pixels[row, :, :, hard_label] += 190
    return replace(bundle, images=pixels)


def experiment(bundle: Bundle | None = None, test: Bundle | None = None, **options) -> Experiment:
    """A settled experiment: two students of `bundle`, tested on it unless `test` is given."""
    trained_on = easy_bundle() if bundle is None else bundle
    settings = QUICK | {"labels": "hard", "seeds": 2} | options
    unsettled = Experiment.of(
        trained_on,
        test=test or trained_on,
        options=EvaluateOptions(**settings),
        digests={"bundle": "b", "test": "t"},
    )
    return settle(unsettled)


def student_records(*experiments: Experiment) -> list[Record]:
    """The records of all students, in the order in which they were trained."""
    return [student.record for student in train_students(experiments)]


def student_results(*experiments: Experiment) -> list[list[dict]]:
    """The figures of the students of each experiment, in the order of their seeds."""
    results: list[list[dict]] = [[] for _ in experiments]
    for number, _, record in train_students(experiments):
        results[number].append(record.result)
    return results


def stack_sizes(experiments: Sequence[Experiment]) -> list[int]:
    """How many students were trained side by side, for each student."""
    return [record.cost["stack"] for record in student_records(*experiments)]
