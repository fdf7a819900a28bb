"""The views of an image, each with its label (LADD, Fig. 1)."""

import math
from dataclasses import replace

import numpy as np

from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Array
from ddlabel.figures.colours import AGREES, DIFFERS
from ddlabel.figures.contact_sheet import show_pixels
from ddlabel.figures.labels import check_probabilities
from ddlabel.figures.registry import Drawing, Table, Value, draws
from ddlabel.figures.style import COLUMN, KEY_HEIGHT, SMALL, colour_key, new_figure
from ddlabel.figures.texts import class_names

_MOST_VIEWS = 36
_TITLE = 0.2
_TEXT = 0.24


def check_row(bundle: Bundle, image: int, figure: str) -> None:
    """Check the number of an image.

    Raises:
        UsageError: The bundle has no such image.
    """
    if not 0 <= image < len(bundle):
        raise UsageError(f"{figure}: image is {image}: expected 0 to {len(bundle) - 1}")


def view_labels(bundle: Bundle, image: int) -> Table:
    """Return the box, the class and the label of every view of an image.

    The class of a blended view is that with the larger share. `agrees` is 1 where it has the
    largest entry of the label.
    """
    check_probabilities(bundle, "dense")
    assert bundle.views is not None
    views = bundle.views
    probs = bundle.labels("dense").probs(slice(image, image + 1))[0]
    boxes = views.boxes if views.are_shared else views.boxes[image]
    rows: list[list[Value]] = []
    for number, (box, label) in enumerate(zip(boxes, probs, strict=True)):
        hard = _class_of_view(bundle, image, number)
        winner = int(label.argmax())
        place = [float(part) for part in box]
        names: list[Value] = [bundle.classes[hard], bundle.classes[winner], float(label[winner])]
        rows.append([number, *place, *names, int(winner == hard), *map(float, label)])
    columns = ["view", "y0", "x0", "y1", "x1", "class", "label", "probability", "agrees"]
    return Table(columns=[*columns, *bundle.classes], rows=rows)


def _class_of_view(bundle: Bundle, image: int, view: int) -> int:
    views = bundle.views
    assert views is not None
    if views.mix is None or views.mix_weight is None or views.mix_weight[image, view] >= 0.5:
        return int(bundle.hard_labels[image])
    return int(bundle.hard_labels[views.mix[image, view]])


@draws("bundle", by_default=True)
def views(bundle: Bundle, *, image: int = 0) -> Drawing:
    """The views of one image with the largest entry of each label; orange is another class."""
    check_row(bundle, image, "views")
    table = view_labels(bundle, image)
    num_views = min(len(table.rows), _MOST_VIEWS)
    pixels = view_images(bundle, image)
    per_row = math.ceil(math.sqrt(num_views))
    cell = COLUMN / per_row
    side = cell * 0.86
    num_lines = math.ceil(num_views / per_row)
    height = num_lines * (side + _TEXT) + _TITLE + KEY_HEIGHT
    figure = new_figure(height)
    figure.set_layout_engine("none")
    shown = dict(zip(bundle.classes, class_names(bundle.classes, longest=12), strict=True))
    size = SMALL if per_row <= 5 else 5
    for number in range(num_views):
        line, column = divmod(number, per_row)
        bottom = height - _TITLE - (line + 1) * (side + _TEXT) + _TEXT
        left = column * cell + (cell - side) / 2
        box = (left / COLUMN, bottom / height, side / COLUMN, side / height)
        axes = figure.add_axes(box)
        show_pixels(axes, pixels[number])
        _, *_, label, share, agrees = table.rows[number][:9]
        colour = AGREES if agrees else DIFFERS
        for spine in axes.spines.values():
            spine.set(visible=True, color=colour, linewidth=1.5)
        text = f"{shown[str(label)]}\n{100 * float(share or 0):.0f} %"
        axes.text(0.5, -0.03, text, transform=axes.transAxes, ha="center", va="top", size=size)
    name = shown[bundle.classes[int(bundle.hard_labels[image])]]
    title = f"image {image}, {name}: {num_views} of {len(table.rows)} views"
    figure.text(0.5, 1 - 0.14 / height, title, ha="center", weight="bold")
    colour_key(figure, height, "numbers: % of the label")
    return Drawing(figure, table)


def view_images(bundle: Bundle, image: int) -> Array:
    """Return the views [V, C, H, W] of an image in unit space, by the code of the training."""
    import torch

    from ddlabel.training.batches import ViewIndex
    from ddlabel.training.device_data import DeviceBundle

    data = DeviceBundle.of(_with_partners(bundle, image), torch.device("cpu"))
    index = ViewIndex(data, whole="none")
    return index.images(torch.arange(bundle.labels("dense").shape[1])).numpy()


def _with_partners(bundle: Bundle, image: int) -> Bundle:
    """Return a bundle of an image, its views, and the images that are blended into them."""
    views = bundle.views
    assert views is not None
    if views.mix is None:
        return bundle.take(np.array([image]))
    partners = np.unique(np.asarray(views.mix[image]))
    rows = np.concatenate([[image], partners[partners != image]])
    new_row = {int(row): place for place, row in enumerate(rows)}
    changes = {}
    for name, array in views.arrays():
        is_shared = name == "boxes" and views.are_shared
        changes[name] = array if is_shared else np.asarray(array[rows])
    # The views of the partners are not drawn, and blended with any image.
    of_image = [new_row[int(row)] for row in views.mix[image]]
    changes["mix"] = np.tile(np.array(of_image, views.mix.dtype), (len(rows), 1))
    dense = bundle.labels("dense").take(rows)
    return replace(bundle.without_views().take(rows), dense=dense, views=replace(views, **changes))
