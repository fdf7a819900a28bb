"""Command lines that import the data of a bundle again, with other options."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ddlabel.commands.doctor.case import Case, class_list, command_line
from ddlabel.data.labels import Array

_ARRAYS = "arrays.npz"


def import_again(case: Case, **changes: Any) -> tuple[str, ...]:
    """Return the command lines that make the bundle again with other options of `import`.

    They go through a file of its arrays: its sources may be elsewhere. Views are lost.
    """
    bundle = case.bundle
    before, name_list = class_list(bundle.classes)
    options: dict[str, Any] = {
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
    again = ["--normalise", "header"] if "pixels" in changes and _was_normalised(case) else []
    return (
        *before,
        command_line("export", case.name, _ARRAYS, *again),
        command_line("import", _ARRAYS, case.mended, *flags),
    )


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
    if not _was_normalised(case):
        return images
    mean, std = per_channel(case.bundle.pixels.mean), per_channel(case.bundle.pixels.std)
    return np.asarray((images - mean) / std)


def _was_normalised(case: Case) -> bool:
    """Return whether the bundle was imported from normalised pixels."""
    imports = [entry for entry in case.bundle.history if entry.command == "import"]
    return bool(imports) and imports[-1].options.get("pixels") == "normalised"


def per_channel(values: Sequence[float]) -> Array:
    """Return numbers [C] in a shape that broadcasts to images [n, C, H, W]."""
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def numbers(values: Sequence[float]) -> str:
    """Return numbers as an option has them: with commas."""
    return ",".join(f"{value:g}" for value in values)
