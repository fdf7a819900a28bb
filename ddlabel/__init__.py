"""ddlabel: make, improve and measure the labels of distilled datasets.

    import ddlabel

    few = ddlabel.read("few.safetensors")
    soft = ddlabel.relabel(few, expert="expert", epoch="auto", real="real.safetensors")
    result = ddlabel.evaluate(soft, test="test.safetensors", loss=["soft-ce", "gift"])
    print(result)

Every command of the command line is a function here with the same options. Importing this package
takes no time: torch is imported when a function first needs it.

Shapes in docstrings, one legend for the whole package: N images, V views of an image, K classes,
B batch, S students, C channels, H height, W width.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# The module of each public name. Names of modules in `commands` are commands.
_MODULES = {
    "read": "commands.bundle_files",
    "write": "commands.bundle_files",
    "to_torch": "training.dataset",
    "Bundle": "data.bundle",
    "Labels": "data.labels",
    "Views": "data.labels",
    "LabelMeta": "data.schema",
    "Pixels": "data.schema",
    "ExpertRun": "data.expert_run",
    "Record": "data.results",
    "import_images": "commands.import_images",
    "select": "commands.select",
    "train_expert": "commands.train_expert",
    "import_expert": "commands.import_expert",
    "relabel": "commands.relabel",
    "densify": "commands.densify",
    "learn": "commands.learn",
    "refine": "commands.refine",
    "edit": "commands.edit",
    "import_labels": "commands.import_labels",
    "compress": "commands.compress",
    "describe": "commands.describe",
    "show": "commands.show",
    "doctor": "commands.doctor",
    "evaluate": "commands.evaluate",
    "sweep": "commands.sweep",
    "compare": "commands.compare",
    "report": "commands.report",
    "export": "commands.export",
    "info": "commands.info",
    "check": "commands.check",
    "available": "commands.available",
    "guide": "commands.guide",
    "demo": "commands.demo",
    "DDLabelError": "core.errors",
    "UsageError": "core.errors",
    "InvalidInputError": "core.errors",
    "UnsafeInputError": "core.errors",
    "IncompatibleError": "core.errors",
    "OutputExistsError": "core.errors",
    "StorageError": "core.errors",
    "ResourceError": "core.errors",
    "SweepError": "core.errors",
}
__all__ = [*_MODULES, "__version__"]  # noqa: PLE0604 - names, taken from the table


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'ddlabel' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ddlabel.{_MODULES[name]}"), name)
    # Kept, so that the next access is a plain one. It also wins over a subpackage of this name,
    # such as `ddlabel.guide`.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
