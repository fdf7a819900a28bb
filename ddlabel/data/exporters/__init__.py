"""Outputs for other programs: an exporter is one function bundle, path → files.

A module of this folder that holds an exporter registers it (see `registry`). Every exporter raises
what `write` here does. The same bundle gives the same bytes: no file has a time in it.
"""

import importlib
import pkgutil

from ddlabel.core.config import ExportOptions
from ddlabel.data.bundle import Bundle
from ddlabel.data.exporters.registry import Exporter, choose, exporters

__all__ = ["Exporter", "choose", "exporters", "write"]

# So that a new exporter is one new file: every module of this folder is imported.
for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def write(bundle: Bundle, path: str, options: ExportOptions) -> list[str]:
    """Write a bundle as `options.format` says, all of it or nothing, and return what is lost.

    Raises:
        OutputExistsError: The output exists.
        IncompatibleError: The kind of output cannot hold such a bundle.
        UsageError: An option does not fit, or a library is missing.
        StorageError: The disk is full or the operating system refuses.
    """
    exporter = exporters[choose(path, options.format)]
    exporter.write(bundle, path, options)
    return exporter.lost(bundle)
