"""What a source is that no importer reads, and which command reads it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddlabel.core.errors import DDLabelError
from ddlabel.data import formats
from ddlabel.data.importers.torch_files import is_tensor, is_torch_file, read_torch

_PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
_TABLES = (".csv", ".tsv", ".npy")
# The ends of the names of a network's parameters and buffers.
_PARAMETERS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_SHOWN = 6
_IMPORT_EXPERT = "'ddlabel import-expert' reads it"
_AS_TENSORS = "save images [N, C, H, W] and labels [N] or [N, K] as a tensor each, in two .pt files"
_RESULTS = ".jsonl"


def describe(paths: Sequence[Path]) -> str:
    """Say what a source is, or each of several; empty if that is not known."""
    if len(paths) == 1:
        what = _describe(paths[0])
        return f"it is {what}" if what else ""
    each = [f"{path.name} is {_describe(path) or 'of an unknown kind'}" for path in paths]
    return f"they belong to no kind of source together: {', '.join(each)}"


def _describe(path: Path) -> str:
    if path.is_dir():
        return _describe_folder(path)
    for known in (_describe_bundle, _describe_picture, _describe_torch_file, _describe_table):
        described = known(path)
        if described:
            return described
    return ""


def _describe_folder(folder: Path) -> str:
    names = sorted(inside.name for inside in folder.iterdir())
    if not names:
        return "an empty folder"
    if "expert.json" in names:
        return "an expert run: give it to --expert of 'ddlabel relabel'"
    if any(name.startswith("replay_buffer") for name in names):
        return f"a folder of experts' replay buffers: {_IMPORT_EXPERT}"
    bundles = [name for name in names if Path(name).suffix in formats.FORMATS]
    if bundles:
        return f"a folder with bundles, such as {bundles[0]}: name one of them"
    return f"a folder with {_listed(names)}"


def _describe_bundle(path: Path) -> str:
    if path.suffix.lower() not in formats.FORMATS:
        return ""
    try:
        header = formats.read_header(str(path))
    except DDLabelError:
        return f"a {path.suffix} file that is no bundle"
    num_images = header.arrays["images"].shape[0]
    return f"already a bundle of {num_images} images: every command reads it as it is"


def _describe_picture(path: Path) -> str:
    if path.suffix.lower() not in _PICTURES:
        return ""
    return "one picture: a set of images is a folder with one folder for each class"


def _describe_table(path: Path) -> str:
    if path.suffix.lower() == _RESULTS:
        return "a results file by its suffix: 'ddlabel compare' and 'ddlabel report' read it"
    if path.suffix.lower() not in _TABLES:
        return ""
    return "an array or a table: 'ddlabel import-labels' reads labels of a bundle from it"


def _describe_torch_file(path: Path) -> str:
    return _describe_value(read_torch(path, mapped=True)) if is_torch_file(path) else ""


def _describe_value(value: Any) -> str:
    """Say what the value of a .pt file is."""
    if isinstance(value, dict):
        return _describe_dict(value)
    if isinstance(value, list | tuple):
        if _is_replay_buffer(value):
            return f"a replay buffer of {len(value)} experts: {_IMPORT_EXPERT}"
        kinds = dict.fromkeys(type(item).__name__ for item in value)
        return f"a list of {len(value)} ({_listed([*kinds])}): {_AS_TENSORS}"
    if is_tensor(value):
        return f"a tensor {list(value.shape)}"
    return f"a {type(value).__name__} in a .pt file: {_AS_TENSORS}"


def _describe_dict(value: dict[Any, Any]) -> str:
    keys = [str(key) for key in value]
    inner = next((value[key] for key in ("state_dict", "model", "net") if key in value), value)
    if isinstance(inner, dict) and inner and all(map(is_tensor, inner.values())):
        names = [str(name) for name in inner]
        if all(name.endswith(_PARAMETERS) for name in names):
            return f"an expert's state dict ({_listed(names, 2)}): {_IMPORT_EXPERT}"
    return (
        f"a dictionary with the keys {_listed(keys)}, which are neither those of a result file of "
        f"DC (data, accs_all_exps) nor of GIFT (dataset, data, label): {_AS_TENSORS}"
    )


def _is_replay_buffer(value: Sequence[Any]) -> bool:
    """Return whether a value is list[experts][checkpoints][parameters]."""
    checkpoints = value[0] if value else None
    parameters = checkpoints[0] if isinstance(checkpoints, list | tuple) and checkpoints else None
    return isinstance(parameters, list | tuple) and bool(parameters) and is_tensor(parameters[0])


def _listed(names: Sequence[str], most: int = _SHOWN) -> str:
    more = ", …" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
