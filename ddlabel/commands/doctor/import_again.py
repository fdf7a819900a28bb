"""Command lines that import the data of a bundle again, with other options."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ddlabel.commands.doctor.case import Case, class_list, command_line
from ddlabel.data.labels import Array
from ddlabel.data.provenance import Entry, shell_lines

_IMPORT = "import"
_ARRAYS = "arrays.npz"


def import_again(case: Case, **changes: Any) -> tuple[str, ...]:
    """Return the command lines that make the bundle again with other options of `import`.

    They read the sources of the bundle's history, else its arrays in a file `.npz`.
    """
    made_by = import_of(case)
    if made_by is not None:
        entry = replace(made_by, options=_changed(made_by.options, changes))
        words = shlex.split(shell_lines([entry])[0])
        # The line writes to standard output, and no source is a stream.
        words[words.index("-")] = case.mended
        return (shlex.join(words),)
    bundle = case.bundle
    before, name_list = class_list(bundle.classes)
    options = {
        "pixels": bundle.pixels.space,
        "mean": numbers(bundle.pixels.mean),
        "std": numbers(bundle.pixels.std),
        "class_names": name_list,
    }
    if bundle.soft is not None and bundle.soft.meta.space in ("logits", "probs"):
        options["label_space"] = bundle.soft.meta.space
    flags: list[str] = []
    for name, value in _changed(options, changes).items():
        flags += [f"--{name.replace('_', '-')}", str(value)]
    return (
        *before,
        command_line("export", case.name, _ARRAYS),
        command_line(_IMPORT, _ARRAYS, case.mended, *flags),
    )


def _changed(options: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with changes. A convention and numbers of its own exclude one another."""
    if "normalise" in changes:
        options = {name: value for name, value in options.items() if name not in ("mean", "std")}
    elif "mean" in changes:
        options = {name: value for name, value in options.items() if name != "normalise"}
    return {**options, **changes}


def import_of(case: Case) -> Entry | None:
    """Return the import that a bundle's history begins with, or None."""
    history = case.bundle.history
    is_import = bool(history) and history[0].command == _IMPORT
    has_sources = is_import and any(given.role == "source" for given in history[0].inputs)
    return history[0] if has_sources else None


def as_imported(case: Case, images: Array) -> Array:
    """Return images [n, C, H, W] in unit space as they were in the source of the bundle.

    If they were imported as normalised, the mean and deviation of the header were undone.
    """
    made_by = import_of(case)
    if made_by is None or made_by.options.get("pixels") != "normalised":
        return images
    mean, std = per_channel(case.bundle.pixels.mean), per_channel(case.bundle.pixels.std)
    return np.asarray((images - mean) / std)


def per_channel(values: Sequence[float]) -> Array:
    """Return numbers [C] in a shape that broadcasts to images [n, C, H, W]."""
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def numbers(values: Sequence[float]) -> str:
    """Return numbers as an option has them: with commas."""
    return ",".join(f"{value:g}" for value in values)
