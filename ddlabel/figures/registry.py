"""The registry of figures: name → function of what is drawn → drawing."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, get_args

from ddlabel.core.registry import Registry

if TYPE_CHECKING:  # an extra, which takes time to import
    from matplotlib.figure import Figure

F = TypeVar("F", bound=Callable[..., "Drawing"])
# What a figure is drawn from: labels of a bundle, the labels of an image by an expert's epochs,
# students' attention to test images, an expert run, or the records of students.
Kind = Literal["bundle", "epochs", "attention", "run", "results"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Value = str | int | float | None
figures: Registry[Callable[..., "Drawing"]] = Registry("figure")
_KIND_OF: dict[str, Kind] = {}
_DEFAULTS: list[str] = []


@dataclass(frozen=True, kw_only=True)
class Table:
    """The numbers behind a figure.

    Attributes:
        columns: The names of the columns.
        rows: One value for each column; None where there is none.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]

    def to_csv(self) -> bytes:
        """Return the table as CSV (RFC 4180) in UTF-8, with a row of names. None is empty.

        A text that a spreadsheet would run as a formula begins with an apostrophe.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(self.columns)
        for row in self.rows:
            writer.writerow([_cell(value) for value in row])
        return text.getvalue().encode()


class Drawing(NamedTuple):
    """A figure of matplotlib, the table behind it, and what its reader has to know."""

    figure: "Figure"
    table: Table
    notes: Sequence[str] = ()


def draws(kind: Kind, *, by_default: bool = False) -> Callable[[F], F]:
    """Return a decorator that registers a figure under the name of its function.

    Args:
        kind: What the function draws: the type of its first argument.
        by_default: Whether `show` draws it if no figure is named.
    """

    def register(function: F) -> F:
        figures.add(function)
        name = next(reversed(figures))
        _KIND_OF[name] = kind
        if by_default:
            _DEFAULTS.append(name)
        return function

    return register


def kind_of(name: str) -> Kind:
    """Return what a figure is drawn from."""
    return _KIND_OF[name]


def names_of(kind: Kind) -> list[str]:
    """Return the names of the figures of a kind."""
    return [name for name in figures if _KIND_OF[name] == kind]


def default_names(kind: Kind) -> list[str]:
    """Return the names of the figures of a kind that are drawn if none is named."""
    return [name for name in _DEFAULTS if _KIND_OF[name] == kind]


def _cell(value: Value) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
