"""The results file: one JSON record a line, for a student of `evaluate` or a cell of `sweep`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from json import JSONDecodeError
from pathlib import Path
from typing import NamedTuple

from ddlabel.core import interruption
from ddlabel.core.errors import InvalidInputError, StorageError, UsageError
from ddlabel.data import atomic
from ddlabel.data.formats import FORMATS
from ddlabel.data.lines import LockedLines, locked_lines, shared_lines
from ddlabel.data.reading import is_regular, is_standard_output, reading
from ddlabel.data.record import DamagedRecordError, Kind, Record, begins_as_record
from ddlabel.data.schema import require

SUFFIX = ".jsonl"
_NAMES: dict[Kind, str] = {"student": "a student of evaluate", "cell": "a cell of sweep"}
_MAX_NOTES = 10
# The longest record has a confusion matrix of a thousand classes and a loss curve: 10 MB.
_MAX_LINE_BYTES = 1 << 24


class _Line(NamedTuple):
    """A line of a results file.

    Attributes:
        number: Its number, from 1.
        record: Its record; None if it has none.
        reason: Why it has none.
        is_damaged: Whether it is what a crash or a damage leaves of a record, and nothing foreign.
    """

    number: int
    record: Record | None
    reason: str = ""
    is_damaged: bool = False


class Results:
    """A results file. Several processes may read it and append to it at the same time.

    Attributes:
        path: The file.
        records: The records that were read or appended, by key. Of several with one key the last
            counts.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.records: dict[str, Record] = {}
        self._kind: Kind | None = None
        self._note: Callable[[str], None] | None = None
        self._serves: Callable[[Record], bool] | None = None
        # The bytes and lines that were read.
        self._size = 0
        self._num_lines = 0

    def check_output(self) -> None:
        """Refuse a results file that cannot be one, before any training.

        Raises:
            UsageError: The suffix is not .jsonl, or standard output goes to the file.
            OutputExistsError: The path is a folder.
            StorageError: Its folder is missing or not writable.
        """
        if self.path.suffix != SUFFIX:
            raise UsageError(
                f"--out {self.path}: results are a {SUFFIX} file, to which records are appended"
            )
        if is_standard_output(self.path):
            raise UsageError(
                f"--out {self.path}: standard output goes to this file too: name another"
            )
        atomic.check_output(str(self.path), force=True)

    def read(
        self,
        kind: Kind,
        note: Callable[[str], None] | None = None,
        *,
        serves: Callable[[Record], bool] | None = None,
    ) -> dict[str, Record]:
        """Return the records of the file by key; none if there is no file.

        Of several records with one key the last counts. A record for which `serves` returns False,
        because it lacks figures that are asked for, is left out. A broken line is skipped, and
        `note` is called with a sentence that names it. A last line that a crash cut off is removed
        from the file.

        Raises:
            InvalidInputError: A line is a record of another kind, or the file has lines and none of
                them is a record or the rest of one.
            StorageError: The operating system refuses.
        """
        self._kind = kind
        self._note = note
        self._serves = serves
        self.records = {}
        self._begin_again()
        return self.read_new()

    def read_new(self) -> dict[str, Record]:
        """Read the lines that were added since the file was last read, and return all records.

        This is cheap where nothing was added.

        Raises:
            InvalidInputError, StorageError: See `read`.
        """
        try:
            if self.path.stat().st_size != self._size:
                with locked_lines(self.path, create=False) as lines:
                    self._read_new(lines)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StorageError(f"cannot read {self.path}: {error.strerror or error}") from error
        return self.records

    def append(self, record: Record) -> None:
        """Append a record, whole or not at all.

        Raises:
            StorageError: The disk is full or the operating system refuses. The file is as before.
            ValueError, TypeError: The record cannot be written as JSON.
        """
        line = record.to_json().encode()
        with self._locked_for_append() as lines:
            lines.append(line)

    def append_new(self, record: Record) -> bool:
        """Append a record unless the file has one with its key, and return whether it was appended.

        Other processes may append at the same time: of records with one key, one is written. The
        record that counts is in `records`.

        Raises:
            InvalidInputError: See `read`.
            StorageError, ValueError, TypeError: See `append`.
        """
        line = record.to_json().encode()
        with self._locked_for_append() as lines:
            if lines.size != self._size:
                self._read_new(lines)
            if record.key in self.records:
                return False
            lines.append(line)
            self._size = lines.size
            self._num_lines += 1
        self.records[record.key] = record
        return True

    @contextmanager
    def _locked_for_append(self) -> Iterator[LockedLines]:
        # A signal waits until the record is written: it can be the work of hours.
        try:
            with interruption.deferred(), locked_lines(self.path, create=True) as lines:
                yield lines
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror or error}") from error

    def _begin_again(self) -> None:
        """Let the next reading begin with the first line."""
        self._size = 0
        self._num_lines = 0

    def _read_new(self, lines: LockedLines) -> None:
        """Read the lines from where the last reading ended, and repair the end of the file."""
        if lines.size < self._size:
            # Something else has shortened or replaced the file.
            self._begin_again()
        texts = lines.read_from(self._size).split(b"\n")
        if texts[-1] == b"":
            texts.pop()
        read = []
        for number, text in enumerate(texts, start=self._num_lines + 1):
            read.append(_parse(text, number))
        if self._size == 0:
            self._refuse_foreign(read)
        self._keep_records(read)
        if not lines.ends_with_newline:
            if read[-1].is_damaged:
                lines.cut(lines.size - len(texts[-1]))
                self._report_cut_off(read.pop())
            else:
                lines.end_line()
        self._report([line for line in read if line.record is None])
        self._num_lines += len(read)
        self._size = lines.size

    def _refuse_foreign(self, read: Sequence[_Line]) -> None:
        """Refuse a file in which no line is a record, and one is no part of a record either.

        Raises:
            InvalidInputError: The file is such a file.
        """
        foreign = _foreign_line(read)
        if foreign is not None:
            raise InvalidInputError(f"{self.path}, {foreign}; name another --out")

    def _keep_records(self, read: Sequence[_Line]) -> None:
        """Keep the records that serve.

        Raises:
            InvalidInputError: A record is of another kind.
        """
        for number, record, *_ in read:
            if record is None:
                continue
            if self._kind not in (None, record.kind):
                raise InvalidInputError(
                    f"{self.path}, line {number}: {_NAMES[record.kind]}, expected "
                    f"{_NAMES[self._kind]}: name another --out"
                )
            if self._serves is None or self._serves(record):
                self.records[record.key] = record

    def _report(self, broken: Sequence[_Line]) -> None:
        if self._note is not None:
            _report_broken(self.path, broken, self._note)

    def _report_cut_off(self, line: _Line) -> None:
        if self._note is not None:
            self._note(f"{self.path}, line {line.number}: it was cut off, and is removed")


def read_records(path: Path, note: Callable[[str], None]) -> list[Record]:
    """Return the records of a results file, of any kind, in the order of its lines.

    The file is not changed. A broken line is skipped, and `note` is called with a sentence that
    names it.

    Raises:
        InvalidInputError: There is no such file, or it has no records.
        StorageError: The operating system refuses to read.
    """
    with reading(path, "cannot be read as results"):
        require(path.exists(), "there is no such file")
        require(is_regular(path), f"expected a results file ({SUFFIX})")
        require(
            path.suffix.lower() not in FORMATS,
            f"it is a bundle, and no results file ({SUFFIX}, of 'ddlabel evaluate --out'): compare "
            f"students of bundles with 'ddlabel evaluate {path} --test TEST --against OTHER', and "
            f"labels with 'ddlabel describe {path} --against OTHER'",
        )
        with shared_lines(path) as file:
            texts = iter(partial(file.readline, _MAX_LINE_BYTES), b"")
            lines = [_parse(text.rstrip(b"\n"), number) for number, text in enumerate(texts, 1)]
    records = [line.record for line in lines if line.record is not None]
    foreign = _foreign_line(lines)
    if foreign is not None:
        raise InvalidInputError(f"{path}, {foreign}")
    _report_broken(path, [line for line in lines if line.record is None], note)
    if not records:
        raise InvalidInputError(f"{path}: no line of it is a whole record: name another file")
    return records


def _foreign_line(lines: Sequence[_Line]) -> str | None:
    """Return what the first foreign line of a file without any record is; None for results."""
    if any(line.record is not None for line in lines):
        return None
    for line in lines:
        if not line.is_damaged:
            return f"line {line.number}: not a result of ddlabel: {line.reason}"
    return None


def _report_broken(path: Path, broken: Sequence[_Line], note: Callable[[str], None]) -> None:
    """Name the lines that are no records."""
    for line in broken[:_MAX_NOTES]:
        note(f"{path}, line {line.number}: {line.reason}; the line is skipped")
    num_more = len(broken) - _MAX_NOTES
    if num_more > 0:
        note(f"{path}: {num_more} more lines are no records and are skipped")


def _parse(text: bytes, number: int) -> _Line:
    """Return a line with its record, or with the reason why it has none."""
    try:
        return _Line(number, Record.from_json(text))
    except DamagedRecordError as error:
        return _Line(number, None, str(error), is_damaged=True)
    except (JSONDecodeError, UnicodeDecodeError, RecursionError):
        reason = "it is not JSON: cut off, glued to another, or foreign"
        return _Line(number, None, reason, is_damaged=begins_as_record(text))
    except (ValueError, KeyError, TypeError):
        return _Line(number, None, "it has not the fields of a record")
