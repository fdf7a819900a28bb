"""Grids of sweeps over the files of the fixture `digits`."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

Grid = dict[str, Any]

EVALUATE: Grid = {
    "command": "evaluate",
    "options": {
        "bundle": "few.safetensors",
        "test": "test.safetensors",
        "net": "convnet-d1:width=4",
        "epochs": 2,
        "seeds": 2,
        "precision": "fp32",
    },
    "axes": {"optimizer": ["sgd", "adamw"], "batch-size": [10, 20]},
}
RELABEL: Grid = {
    "command": "relabel",
    "options": {
        "bundle": "few.safetensors",
        "expert": ["expert@1", "expert@2"],
        "out": "soft-{temperature}.safetensors",
    },
    "axes": {"temperature": [1, 2.5]},
}


def changed(
    grid: Grid,
    *,
    command: Any = None,
    options: dict[str, Any] | None = None,
    axes: dict[str, Any] | None = None,
) -> Grid:
    """A copy of a grid with another command, and with options and axes added or replaced."""
    copy = deepcopy(grid)
    if command is not None:
        copy["command"] = command
    copy["options"] |= options or {}
    copy["axes"] |= axes or {}
    return copy


def without(grid: Grid, table: str, name: str) -> Grid:
    """A copy of a grid without an option or an axis."""
    copy = deepcopy(grid)
    del copy[table][name]
    return copy


def write_grid(grid: Grid, path: str = "grid.toml") -> str:
    """Write a grid as TOML and return the path. JSON's texts, numbers and lists are TOML's."""
    lines = [f"command = {json.dumps(grid['command'])}"]
    for table in ("options", "axes"):
        lines.append(f"[{table}]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in grid[table].items()]
    Path(path).write_text("\n".join(lines))
    return path
