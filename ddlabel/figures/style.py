"""How figures look, and how they become files. matplotlib is imported here, when it is needed."""

import io
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ddlabel.core.errors import UsageError
from ddlabel.figures.colours import AGREES, DIFFERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The width of a column of a paper, in inches.
COLUMN = 3.3
# Inches that `colour_key` takes at the bottom of a figure.
KEY_HEIGHT = 0.18
# Points: the least that is legible in print.
SMALL = 6.0
NORMAL = 7.0
_DOTS_PER_INCH = 300
_SETTINGS: dict[str, Any] = {
    # One font that matplotlib brings, so that every machine draws the same.
    "font.family": "DejaVu Sans",
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "figure.dpi": 100,
    "savefig.dpi": _DOTS_PER_INCH,
    # Text of strangers is text: no mathematics, no TeX.
    "text.parse_math": False,
    "text.usetex": False,
    "svg.fonttype": "none",
    # Without it the names of elements in an SVG file differ from run to run.
    "svg.hashsalt": "ddlabel",
    "path.simplify": False,
}
# Formats of a figure, by the suffix of the file, with the metadata that keeps dates out.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}
FORMATS = tuple(_METADATA)


def require_matplotlib() -> None:
    """Check that matplotlib is installed.

    Raises:
        UsageError: It is not.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "figures are drawn with matplotlib, which is not installed: "
            "run pip install 'ddlabel[plots]'"
        ) from error


def house_style() -> AbstractContextManager[Any]:
    """Return a context in which figures are made and saved in the style of the house."""
    import matplotlib

    settings = matplotlib.rcParamsDefault | _SETTINGS
    # The backend is no matter of style, and setting it would close the user's figures.
    for name in ("backend", "backend_fallback"):
        settings.pop(name, None)
    return matplotlib.rc_context(settings)


def new_figure(height: float, *, width: float = COLUMN) -> "Figure":
    """Return an empty figure of a width and a height in inches, which pyplot does not know."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def new_axes(height: float, *, width: float = COLUMN) -> tuple["Figure", "Axes"]:
    """Return a new figure with one pair of axes."""
    figure = new_figure(height, width=width)
    return figure, figure.add_subplot()


def log_scale(axis: Any, values: Sequence[float] = (), *, steps: Sequence[int] = (1, 2, 5)) -> None:
    """Make an axis logarithmic, with plain numbers at `steps` times the powers of ten.

    With `values` the numbers are at these. Thousands and millions are written 5k and 5M.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    locator = FixedLocator(values) if len(values) else LogLocator(subs=steps, numticks=6)
    axis.set_major_locator(locator)
    # matplotlib's own numbers are mathematics, which is switched off for the texts of strangers.
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axis.set_minor_locator(NullLocator())


def short_number(value: float) -> str:
    """Return a number in few characters: 0.5, 200, 5k, 20M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def legend_above(figure: "Figure") -> None:
    """Name the lines of a figure above it, where the names hide nothing."""
    figure.legend(loc="outside upper center", ncols=2)


def colour_key(figure: "Figure", height: float, note: str) -> None:
    """Write at the bottom what blue and orange mean, and a note on the numbers.

    Args:
        figure: The figure.
        height: Its height in inches, of which the lowest `KEY_HEIGHT` is free for the key.
        note: What the numbers are.
    """
    line = 0.35 * KEY_HEIGHT / height
    for colour, left in ((AGREES, 0.02), (DIFFERS, 0.37)):
        figure.text(left, line, "■", color=colour, size=SMALL)
    for text, left in (("class of the image", 0.05), ("another class", 0.40), (note, 0.63)):
        figure.text(left, line, text, size=SMALL)


def without_ticks(axes: "Axes") -> None:
    """Remove ticks and frame, for pictures."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def file_content(figure: "Figure", kind: str) -> bytes:
    """Return a figure as the content of a PNG or SVG file: the same bytes for the same figure."""
    content = io.BytesIO()
    # A character that the font does not have is drawn as a box; in an SVG file it stays a text.
    with house_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format=kind, metadata=_METADATA[kind])
    return content.getvalue()


def drawn(draw: Callable[[], Any]) -> Any:
    """Call a function that draws, in the style of the house."""
    with house_style():
        return draw()
