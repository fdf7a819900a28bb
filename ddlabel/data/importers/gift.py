"""The file `data.pt` of GIFT: images that are not normalised, and any labels."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ddlabel.core.config import ImportOptions
from ddlabel.data.importers.hard_labels import OPTIONS as HARD
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.source import Source, from_arrays
from ddlabel.data.importers.torch_files import array_of, is_tensor, is_torch_file, read_torch
from ddlabel.data.schema import require

_IMAGES = "data"
_LABELS = "label"
_NAME = "dataset"
_KEYS = {_IMAGES, _LABELS, _NAME}


def _recognise(paths: Sequence[Path]) -> Found | None:
    """Find a .pt file of a dictionary with two tensors, `data` and `label`."""
    if not is_torch_file(paths[0]):
        return None
    value = read_torch(paths[0], mapped=True)
    if not isinstance(value, dict) or not is_tensor(value.get(_IMAGES)):
        return None
    if not is_tensor(value.get(_LABELS)):
        return Found("a dictionary like GIFT's data.pt", Certainty.MARK, missing=f"{_LABELS!r}")
    of = f" of {value[_NAME]}" if isinstance(value.get(_NAME), str) else ""
    return Found(f"a data.pt of GIFT{of}", Certainty.MARK)


@importers.add("gift", recognise=_recognise, options={"pixels", "label_space", "zca_from", *HARD})
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """GIFT's `data.pt`: a dictionary with `dataset`, `data` (images) and `label`.

    The images are not normalised: `options.pixels` is unit unless it says otherwise. Labels are
    [N], [N, 1] or [N, K].

    Raises:
        InvalidInputError: The file is damaged or has another layout.
        UnsafeInputError: It asks for code, or declares more than its bytes hold.
        UsageError: The space of the labels is ambiguous and not stated.
    """
    path = paths[0]
    value = read_torch(path)
    found = value if isinstance(value, dict) else {}
    has_both = is_tensor(found.get(_IMAGES)) and is_tensor(found.get(_LABELS))
    require(has_both, f"{path}: not GIFT's data.pt: expected a dictionary with data and label")
    images = array_of(path, found[_IMAGES])
    labels = array_of(path, found[_LABELS])
    if options.pixels is None and images.dtype.kind == "f":
        options = replace(options, pixels="unit")
    source = from_arrays(str(path), images, [labels], options)
    unread = sorted(str(key) for key in found.keys() - _KEYS)
    notes = (f"note: {path}: not read: {', '.join(unread)}",) if unread else ()
    return source._replace(notes=(*source.notes, *notes))
