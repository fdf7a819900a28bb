"""The registry of importers: how one is declared, and how the kind of a source is detected."""

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.core.registry import Entry, nearest
from ddlabel.data.importers.source import Source
from ddlabel.data.importers.unknown import describe

AUTO = "auto"
Load = Callable[[Sequence[Path], ImportOptions], Source]


class Certainty(IntEnum):
    """How much an importer knows of a source that it could read."""

    NAME = 1  # the name or the suffix fits
    CONTENT = 2  # the content fits, and another importer could read it in another way
    MARK = 3  # the content has a mark of this kind alone


class Found(NamedTuple):
    """What an importer sees in a source.

    `what` describes the source after "it is", such as "a folder or zip of class folders". `missing`
    says what the importer lacks in order to read it; it is empty if nothing is missing.
    """

    what: str
    certainty: Certainty
    missing: str = ""


Recognise = Callable[[Sequence[Path]], Found | None]


@dataclass(frozen=True, kw_only=True)
class Importer:
    """One kind of source.

    Attributes:
        load: Reads the source. Its docstring begins with what the kind is.
        recognise: Returns what the importer sees in a source; None if it is of another kind. It
            reads no more than it needs, and raises the errors of `load`.
        options: The options, among those that not every importer has, which it uses.
        most_paths: How many files one source can have.
    """

    load: Load
    recognise: Recognise
    options: frozenset[str]
    most_paths: int


class Importers(dict[str, Importer]):
    """Importers by the name of their kind, which `--format` takes."""

    def add(
        self,
        name: str,
        *,
        recognise: Recognise,
        options: Collection[str] = (),
        most_paths: int = 1,
    ) -> Callable[[Load], Load]:
        """Return a decorator that registers the function `load` of an importer."""

        def register(load: Load) -> Load:
            self[name] = Importer(
                load=load,
                recognise=recognise,
                options=frozenset(options),
                most_paths=most_paths,
            )
            return load

        return register

    def entries(self) -> list[Entry]:
        """Return every kind with the first line of what its importer says of itself."""
        entries = []
        for name, importer in self.items():
            summary = (inspect.getdoc(importer.load) or "").split("\n")[0]
            entries.append(Entry(name=name, options={}, summary=summary))
        return entries


importers = Importers()


class Choice(NamedTuple):
    """The kind of a source, and what was found in it; nothing was looked for if it was given."""

    kind: str
    found: Found | None


def choose(paths: Sequence[Path], wanted: str) -> Choice:
    """Return the kind that `wanted` names; for `auto`, the kind that the files have.

    A kind with a mark of its own wins over kinds that could read the source too.

    Raises:
        UsageError: There is no such kind.
        InvalidInputError: No importer knows the source, or several do.
    """
    if wanted != AUTO:
        if wanted not in importers:
            hint = nearest(wanted, [AUTO, *importers])
            raise UsageError(f"--format is {wanted!r}: {hint}")
        return Choice(wanted, None)
    seen: list[Choice] = []
    nearly: list[Choice] = []
    for kind, importer in importers.items():
        found = importer.recognise(paths) if len(paths) <= importer.most_paths else None
        if found is not None:
            (nearly if found.missing else seen).append(Choice(kind, found))
    seen.sort(key=_certainty, reverse=True)
    if not seen:
        what = _nearly(nearly) or describe(paths)
        unknown = (
            "of an unknown kind: 'ddlabel list formats' shows the kinds that --format of 'ddlabel "
            "import' takes"
        )
        raise InvalidInputError(f"{paths[0]}: {what or unknown}")
    marked = [choice for choice in seen if _certainty(choice) == Certainty.MARK]
    if len(seen) == 1 or len(marked) == 1:
        return seen[0]
    readings = ", or ".join(f"{_what(choice)} (--format {choice.kind})" for choice in seen)
    raise InvalidInputError(f"{paths[0]}: it can be read as {readings}: choose one")


def _nearly(nearly: list[Choice]) -> str:
    """Say which kinds a source nearly is, and what it lacks for them; empty if there are none."""
    nearly.sort(key=_certainty, reverse=True)
    parts = []
    for choice in nearly:
        assert choice.found is not None  # only what was recognised is listed
        parts.append(f"{_what(choice)} without {choice.found.missing}")
    return f"it is {', or '.join(parts)}" if parts else ""


def _certainty(choice: Choice) -> int:
    return 0 if choice.found is None else choice.found.certainty


def _what(choice: Choice) -> str:
    return "" if choice.found is None else choice.found.what
