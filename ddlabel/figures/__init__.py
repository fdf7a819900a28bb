"""Pictures of labels, experts and results, and the table of numbers behind each.

A figure is a function of what it draws that returns a figure of matplotlib and a table. `registry`
knows them by name, `style` makes files of them. matplotlib is an extra and imported when a figure
is drawn. The demo's contact sheet (`sheet`) is drawn with Pillow and needs no extra.
"""

# Each module registers its figures, in the order in which `ddlabel list figures` shows them.
# isort: off
from ddlabel.figures import (  # noqa: F401
    contact_sheet,
    labels,
    views,
    epochs,
    experts,
    comparisons,
    scaling,
    diagnostics,
    gradcam,
)

# isort: on
from ddlabel.figures.registry import figures

__all__ = ["figures"]
