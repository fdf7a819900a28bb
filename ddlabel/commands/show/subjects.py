"""What `show` draws: a bundle, an expert run or results, told apart by what is there."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddlabel.commands.inputs import open_bundle
from ddlabel.commands.reporter import Reporter
from ddlabel.commands.show.students import read_students
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.reading import is_standard_input
from ddlabel.data.results import SUFFIX
from ddlabel.figures.registry import Kind

# A path, a bundle, an expert run, or what has the records of students.
SubjectLike = Any
_MOST_NAMES = 4


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is drawn: a bundle, an expert run, or the students [list] of results, by its kind."""

    kind: Kind
    content: Any


def open_subject(value: SubjectLike, reporter: Reporter) -> Subject:
    """Open a bundle, an expert run or results from a path, or take an object as it is.

    Raises:
        InvalidInputError: There is no such file, it is none of these, or it is damaged.
        UsageError: There are several expert runs, or the object is none of these.
    """
    if isinstance(value, Bundle):
        return Subject(kind="bundle", content=value)
    if isinstance(value, ExpertRun):
        return Subject(kind="run", content=value)
    if isinstance(value, str | os.PathLike):
        return _open_path(str(value), reporter)
    return Subject(kind="results", content=read_students(value, reporter))


def _open_path(path: str, reporter: Reporter) -> Subject:
    suffix = Path(path).suffix.lower()
    if is_standard_input(path) or suffix in formats.FORMATS:
        return Subject(kind="bundle", content=open_bundle(path).bundle)
    if suffix == SUFFIX:
        return Subject(kind="results", content=read_students(path, reporter))
    if Path(path).is_file():
        raise InvalidInputError(
            f"{path}: expected a bundle ({', '.join(formats.FORMATS)}), results ({SUFFIX}) or the "
            "folder of an expert run; make a bundle of other files with 'ddlabel import'"
        )
    # A run may be named with an epoch, RUN@12, which `one_run` refuses.
    if not Path(path.rpartition("@")[0] or path).exists():
        raise InvalidInputError(f"{path}: there is no such file or folder")
    return Subject(kind="run", content=one_run(path))


def one_run(path: str) -> ExpertRun:
    """Return the expert run of a folder.

    Raises:
        InvalidInputError: There is none.
        UsageError: There are several, or the path names an epoch.
    """
    runs = ExpertRun.find(path)
    if len(runs) > 1:
        names = ", ".join(run.folder.name for run in runs[:_MOST_NAMES])
        more = ", …" if len(runs) > _MOST_NAMES else ""
        raise UsageError(f"{path} has {len(runs)} expert runs ({names}{more}): name one of them")
    if runs[0].epoch:
        raise UsageError(f"{path}: every epoch of the run is drawn: leave out @{runs[0].epoch}")
    return runs[0]
