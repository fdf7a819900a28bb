"""Label archives of FKD, with the numbers of the images."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from ddlabel.core.config import ExportOptions
from ddlabel.core.errors import IncompatibleError
from ddlabel.data.atomic_folder import write_folder
from ddlabel.data.bundle import CHUNK, Bundle
from ddlabel.data.exporters.labels import as_logits
from ddlabel.data.exporters.registry import exporters
from ddlabel.data.labels import Array, Views

# What float16 holds.
_LARGEST = float(np.finfo(np.float16).max)


@exporters.add("fkd", keeps=("views",), is_folder=True)
def write(bundle: Bundle, path: str, options: ExportOptions) -> None:  # noqa: ARG001
    """A folder of FKD's label archives: `epoch_E/batch_B.tar` for view E of the images.

    An archive is the list [coords [B, 4], flip [B], mix_index [B], mix_lam, mix_bbox, logits [B, K]
    in float16, index [B]]: coords are top, left, height and width as fractions, mix_index are
    places in the batch, and index are the numbers of the images. Without mixing the three in the
    middle are None. A batch has one share and one region, as in FKD.

    Raises:
        IncompatibleError: The bundle has no views, their labels are no distributions, or views that
            are mixed with one another have different shares or regions.
    """
    bundle.labels("dense")
    write_folder(path, _files(bundle))


def _files(bundle: Bundle) -> Iterator[tuple[str, list[bytes]]]:
    assert bundle.views is not None  # dense labels come with views
    for view in range(bundle.views.num_views):
        for number, rows in enumerate(_batches(bundle.views, view, len(bundle))):
            content = _saved(_batch(bundle, view, rows))
            yield f"epoch_{view}/batch_{number}.tar", [content]


def _batches(views: Views, view: int, num_images: int) -> Iterator[Array]:
    """Yield the images [B] of each batch: of mixed views those with one share and one region."""
    rows = np.arange(num_images)
    if views.mix is None:
        yield from np.split(rows, range(CHUNK, num_images, CHUNK))
        return
    assert views.mix_weight is not None  # it comes with the partners
    blends = views.mix_weight[:, view, None]
    if views.mix_box is not None:
        blends = np.concatenate([blends, views.mix_box[:, view]], axis=1)
    _, groups = np.unique(blends, axis=0, return_inverse=True)
    for group in np.unique(groups):
        members = rows[groups.reshape(-1) == group]
        if not np.isin(views.mix[members, view], members).all():
            raise IncompatibleError(
                f"in view {view} each image is mixed with a share or region of its own, and a "
                "batch of FKD has one for all: label views without mixing ('ddlabel densify "
                "--views fkd:mix=none'), or choose --format npz"
            )
        yield members


def _batch(bundle: Bundle, view: int, rows: Array) -> list[Any]:
    """Return the content of the archive of view `view` of some images [B]."""
    import torch

    views = bundle.views
    assert views is not None  # `_files` has checked it
    boxes = views.boxes[view] if views.are_shared else views.boxes[rows, view]
    boxes = np.broadcast_to(boxes, (len(rows), 4))
    corner, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    flip = np.zeros(len(rows), bool) if views.flip is None else views.flip[rows, view] != 0
    labels = as_logits(bundle.labels("dense"), rows)[:, view]
    if np.abs(labels).max() > _LARGEST:
        raise IncompatibleError("the logits are too large for float16: choose --format npz")
    return [
        torch.from_numpy(np.concatenate([corner, size], axis=1)),
        torch.from_numpy(np.asarray(flip)),
        *_blend(bundle, views, view, rows),
        torch.from_numpy(labels.astype(np.float16)),
        torch.from_numpy(rows),
    ]


def _blend(bundle: Bundle, views: Views, view: int, rows: Array) -> list[Any]:
    """Return the partners [B] as places in the batch, the share, and the region in pixels."""
    import torch

    if views.mix is None or views.mix_weight is None:
        return [None, None, None]
    places = np.searchsorted(rows, views.mix[rows, view])
    region = None
    if views.mix_box is not None:
        height, width = bundle.images.shape[2:]
        edges = views.mix_box[rows[0], view] * [height, width, height, width]
        region = np.rint(edges).astype(int).tolist()
    return [torch.from_numpy(places), float(views.mix_weight[rows[0], view]), region]


def _saved(value: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()
