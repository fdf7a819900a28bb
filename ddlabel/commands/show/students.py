"""The students of results as figures need them."""

import re
from collections.abc import Mapping
from typing import Any

from ddlabel.commands.compare import read_observations
from ddlabel.commands.compare.observations import INPUTS, Observation
from ddlabel.commands.refine import REFINED
from ddlabel.commands.reporter import Reporter
from ddlabel.figures.students import Student

# What is known of a student beside what a figure groups students by.
_NOT_SETTINGS = ("bundle", "ipc", "test", "version")
_EPOCH = re.compile(r"@(\d+(?:\.\d+)?)")
_GAMMA = re.compile(re.escape(REFINED) + r"(\d+(?:\.\d+)?)")


def read_students(results: Any, reporter: Reporter) -> list[Student]:
    """Return the students of results, from a path or an object that has records.

    Raises:
        InvalidInputError: The file cannot be read, or there are no students in it.
        UsageError: The object has no records.
    """
    return [_student(observation) for observation in read_observations(results, reporter)]


def _student(observation: Observation) -> Student:
    values = observation.values
    settings = {name: value for name, value in values.items() if name not in _NOT_SETTINGS}
    return Student(
        accuracy=observation.figures["accuracy"],
        bundle=values.get("bundle", INPUTS[0]),
        settings=settings,
        numbers=_numbers(observation),
        result=observation.record.result,
    )


def _numbers(observation: Observation) -> dict[str, float]:
    """Return what is known of the bundle in numbers: see `Student.numbers`."""
    about = observation.record.origins.get("bundle", {})
    values = observation.values
    numbers: dict[str, float] = {}
    if "ipc" in values:
        numbers["ipc"] = float(values["ipc"])
    learned = values.get("labels", "")
    facts = about.get("labels", {}).get(learned)
    if facts is not None:
        numbers |= _numbers_of_labels(facts)
    if "bytes" in about:
        numbers["bytes"] = float(_bytes_learned(about["bytes"], values))
    return numbers


def _numbers_of_labels(facts: Mapping[str, Any]) -> dict[str, float]:
    """Return temperature, epoch and γ of labels by where they come from: `expert@3`.

    The labels of an ensemble of experts at different epochs have no epoch.
    """
    numbers = {"temperature": float(facts["temperature"])}
    epochs = {float(text) for text in _EPOCH.findall(facts["source"])}
    if len(epochs) == 1:
        numbers["epoch"] = epochs.pop()
    gamma = _GAMMA.search(facts["source"])
    if gamma is not None:
        numbers["gamma"] = float(gamma[1])
    return numbers


def _bytes_learned(sizes: Mapping[str, int], values: Mapping[str, str]) -> int:
    """Return the bytes of a bundle that a student learns from: its images and its labels."""
    labels = values.get("labels", "")
    parts = ["images", "hard"]
    uses_soft = labels == "soft" or values.get("global_labels") == "soft"
    if uses_soft:
        parts.append("soft")
    if labels == "dense":
        parts.append("dense")
    return sum(sizes.get(part, 0) for part in parts)
