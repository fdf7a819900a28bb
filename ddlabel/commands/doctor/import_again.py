"""Command lines that import the data of a bundle again, with other options."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ddlabel.commands.doctor.case import Case, command_line
from ddlabel.core.normalisation import conventions
from ddlabel.data.labels import Array
from ddlabel.data.provenance import command_words

_ZCA = "zca-from"
# Commands whose labels depend on the pixels.
_FROM_PIXELS = ("relabel", "densify", "learn")


def import_again(case: Case, **changes: Any) -> tuple[str, ...]:
    """Return the command lines that make the bundle again with other options of `import`.

    If the history knows the import and its files are there, it is this command line. Otherwise it
    goes through a file of the bundle's arrays: views are lost.
    """
    if case.own_import is not None:
        options = _changed(case.own_import.options, changes)
        is_whitened = options.get("pixels") == "zca"
        inputs = [each for each in case.own_import.inputs if is_whitened or each.role != _ZCA]
        entry = replace(case.own_import, options=options, inputs=tuple(inputs))
        return (shlex.join(command_words(entry, out=case.mended)),)
    bundle = case.bundle
    options = {
        "pixels": bundle.pixels.space,
        "mean": numbers(bundle.pixels.mean),
        "std": numbers(bundle.pixels.std),
    }
    if bundle.soft is not None:
        options["label_space"] = bundle.soft.meta.space
    words: list[str] = []
    for name, value in _changed(options, changes).items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    arrays = str(Path(case.mended).with_suffix(".npz"))
    as_before = ["--normalise", "header"] if "pixels" in changes and was_normalised(case) else []
    return (
        command_line("export", case.name, arrays, *as_before),
        command_line("import", arrays, case.mended, *words),
    )


def normalised_by(mean: Sequence[float], std: Sequence[float]) -> dict[str, str]:
    """Return the options of `import` for a mean and a deviation: a convention if it has them."""
    name = conventions.name_of(tuple(mean), tuple(std))
    if name:
        return {"normalise": name}
    return {"mean": numbers(mean), "std": numbers(std)}


def _changed(options: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with changes. A convention and numbers of its own exclude one another."""
    if "normalise" in changes:
        options = {name: value for name, value in options.items() if name not in ("mean", "std")}
    elif "mean" in changes:
        options = {name: value for name, value in options.items() if name != "normalise"}
    return {**options, **changes}


def as_imported(case: Case, images: Array) -> Array:
    """Return images [n, C, H, W] in unit space as they were in the source of the bundle.

    If they were imported as normalised, the mean and deviation of the header were undone.
    """
    if not was_normalised(case):
        return images
    mean, std = per_channel(case.bundle.pixels.mean), per_channel(case.bundle.pixels.std)
    return np.asarray((images - mean) / std)


def was_normalised(case: Case) -> bool:
    """Return whether the bundle was imported from normalised pixels."""
    imports = [entry for entry in case.bundle.history if entry.command == "import"]
    return bool(imports) and imports[-1].options.get("pixels") == "normalised"


def then_again(case: Case) -> str:
    """Return the end of an advice: what depends on the pixels has to be made again."""
    made = [entry.command for entry in case.bundle.history if entry.command in _FROM_PIXELS]
    return f", then {' and '.join(dict.fromkeys(made))} again" if made else ""


def per_channel(values: Sequence[float]) -> Array:
    """Return numbers [C] in a shape that broadcasts to images [n, C, H, W]."""
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def numbers(values: Sequence[float]) -> str:
    """Return numbers as an option has them: with commas."""
    return ",".join(f"{value:g}" for value in values)
