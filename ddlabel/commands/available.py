"""`list`: the names that a spec can have, with their options and defaults."""

import importlib
from dataclasses import asdict
from typing import Any

from ddlabel.commands.command import command
from ddlabel.core import protocols
from ddlabel.core.errors import UsageError
from ddlabel.core.protocols import Protocol
from ddlabel.core.registry import Entry, Registry, nearest

PROTOCOLS = "protocols"
# The module and the name of each registry.
_REGISTRIES = {
    "losses": ("ddlabel.methods.losses", "losses"),
    "optimizers": ("ddlabel.methods.optimizers", "optimizers"),
    "schedules": ("ddlabel.methods.schedules", "schedules"),
    "augmentations": ("ddlabel.methods.augmentations", "augmentations"),
    "mixes": ("ddlabel.methods.mixing", "mixes"),
    "nets": ("ddlabel.methods.nets", "nets"),
    "selectors": ("ddlabel.commands.selectors", "selectors"),
    "views": ("ddlabel.methods.labels.views", "layouts"),
    "edits": ("ddlabel.methods.labels.edits", "edits"),
    "codecs": ("ddlabel.data.codecs", "codecs"),
    "prunings": ("ddlabel.methods.labels.pruning", "prunings"),
    "figures": ("ddlabel.figures", "figures"),
    "learners": ("ddlabel.commands.learners", "learners"),
    "formats": ("ddlabel.data.importers", "importers"),
    "normalisations": ("ddlabel.core.normalisation", "conventions"),
    "loggers": ("ddlabel.commands.loggers", "loggers"),
    "exporters": ("ddlabel.data.exporters", "exporters"),
}
KINDS = (*_REGISTRIES, PROTOCOLS)


def registry(kind: str) -> Registry[Any]:
    """Import and return a registry; most of them import torch.

    Raises:
        UsageError: There is no registry of this kind.
    """
    if kind not in _REGISTRIES:
        raise UsageError(f"cannot list {kind!r}: {nearest(kind, KINDS)}")
    module, name = _REGISTRIES[kind]
    entries: Registry[Any] = getattr(importlib.import_module(module), name)
    return entries


def _json_value(available: list[Entry] | dict[str, Protocol]) -> Any:
    if isinstance(available, dict):
        return {name: asdict(protocol) for name, protocol in available.items()}
    return [asdict(entry) for entry in available]


@command("list", json_value=_json_value)
def available(kind: str) -> list[Entry] | dict[str, Protocol]:
    """Return what a spec can name: losses, nets, …; of `protocols` their contents by name.

    Raises:
        UsageError: There is no such kind.
    """
    if kind == PROTOCOLS:
        return {name: protocols.read(name) for name in protocols.names()}
    return registry(kind).entries()
