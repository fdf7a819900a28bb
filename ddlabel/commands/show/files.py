"""The files of a figure: PNG, SVG and CSV."""

import re
from pathlib import Path

from ddlabel.core.errors import OutputExistsError
from ddlabel.data import atomic
from ddlabel.figures import style
from ddlabel.figures.registry import Drawing

_TABLE = "csv"


def check_files(folder: Path, spec: str, *, force: bool) -> None:
    """Refuse files of a figure that exist, before anything is drawn.

    Raises:
        OutputExistsError: A file exists and `force` is not set, or the folder is a file.
        StorageError: The folder is not writable.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"--out {folder} is a file: give a folder")
    if not folder.exists():
        return
    for path in _paths(folder, spec).values():
        atomic.check_output(str(path), force=force)


def write_files(folder: Path, spec: str, drawing: Drawing, *, force: bool) -> list[Path]:
    """Write a figure as PNG and SVG and its table as CSV, and return the paths.

    Raises:
        OutputExistsError: A file exists and `force` is not set.
        StorageError: The operating system refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = _paths(folder, spec)
    for suffix, path in paths.items():
        if suffix == _TABLE:
            content = drawing.table.to_csv()
        else:
            content = style.file_content(drawing.figure, suffix)
        atomic.write(str(path), [content], size=len(content), force=force)
    return [*paths.values()]


def _paths(folder: Path, spec: str) -> dict[str, Path]:
    """Return the files of a figure by their suffix, named after its spec: `views-image-3.png`."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", spec).strip("-.")
    return {suffix: folder / f"{name}.{suffix}" for suffix in (*style.FORMATS, _TABLE)}
