"""The form of a protocol's file: presets of one command, rows that depend on facts, sources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from ddlabel.core.errors import UsageError
from ddlabel.core.protocols.facts import Facts

Options = dict[str, Any]
# What a row can depend on besides the network.
FACTS = ("ipc", "images", "classes", "size", "labels", "dataset", "teacher", "factor")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Options for some evaluations: `set` holds if every condition of `when` is met.

    A condition is a value, a list of values of which one must hold, or a text such as `< 128` or
    `>= 128`. `net` and `teacher` are names of networks without their options.
    """

    when: Mapping[str, Any]
    set: Options
    source: str

    def holds(self, facts: Facts, net: str) -> bool:
        """Return whether every condition is met."""
        for name, wanted in self.when.items():
            known = (net,) if name == "net" else facts.of(name)
            if not any(_meets(value, wanted) for value in known):
                return False
        return True

    def condition(self) -> str:
        """Return the conditions as messages and tables show them: `ipc 10, classes 100 or 1000`."""
        return ", ".join(_condition(name, wanted) for name, wanted in self.when.items())


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A value of the source that this program does not share, and why."""

    what: str
    theirs: str
    ours: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A protocol's file.

    Attributes:
        name: The name of the protocol.
        command: The command that it presets.
        source: The paper or public code.
        note: What a user must know.
        options: The presets, by name.
        sources: Where each of these values stands in the paper or in the code, by name.
        rows: Presets that depend on facts. A later row wins over an earlier one.
        differences: What is not as in the source.
    """

    name: str
    command: str
    source: str
    note: str
    options: Options
    sources: Mapping[str, str]
    rows: Sequence[Row] = ()
    differences: Sequence[Difference] = field(default=())

    @classmethod
    def from_toml(cls, name: str, content: Mapping[str, Any]) -> Self:
        """Return the protocol of a file's content."""
        texts = {"source", "note", "sources", "rows", "differences"}
        (command,) = content.keys() - texts
        rows = []
        for row in content.get("rows", ()):
            options = with_underscores(row["set"])
            rows.append(Row(when=row["when"], set=options, source=row["source"]))
        differences = [Difference(**entry) for entry in content.get("differences", ())]
        return cls(
            name=name,
            command=command,
            source=content["source"],
            note=content["note"],
            options=with_underscores(content[command]),
            sources=with_underscores(content["sources"]),
            rows=rows,
            differences=differences,
        )

    def preset(self, facts: Facts, given: Mapping[str, Any]) -> Options:
        """Return the options for these facts; the user has set those in `given` himself.

        Raises:
            UsageError: No row holds that sets an option which only rows set.
        """
        options = dict(self.options)
        for row in self.rows:
            net = str({**options, **given}.get("net", "")).partition(":")[0]
            if row.holds(facts, net):
                options |= row.set
        for row in self.rows:
            for name in row.set:
                if name not in options and name not in given:
                    raise UsageError(self._missing(name, facts))
        return options

    def depending(self) -> set[str]:
        """Return the names of the options that rows set."""
        return {name for row in self.rows for name in row.set}

    def _missing(self, name: str, facts: Facts) -> str:
        flag = f"--{name.replace('_', '-')}"
        rows = [row for row in self.rows if name in row.set]
        shortest = [
            row.condition()
            for row in rows
            if not any(other.when.items() < row.when.items() for other in rows)
        ]
        return (
            f"protocol {self.name!r} has no {flag} for {facts}: it has rows for "
            f"{'; '.join(dict.fromkeys(shortest))} ('ddlabel list protocols'); give {flag}"
        )


def with_underscores(options: Mapping[str, Any]) -> Options:
    """Return options of a file under the names that Python uses."""
    return {name.replace("-", "_"): value for name, value in options.items()}


def _meets(value: Any, wanted: Any) -> bool:
    """Return whether a fact meets a condition."""
    if isinstance(wanted, list):
        return any(_meets(value, part) for part in wanted)
    if isinstance(wanted, str) and wanted.startswith("<"):
        return bool(value < float(wanted.removeprefix("<")))
    if isinstance(wanted, str) and wanted.startswith(">="):
        return bool(value >= float(wanted.removeprefix(">=")))
    return bool(value == wanted)


def _condition(name: str, wanted: Any) -> str:
    values = wanted if isinstance(wanted, list) else [wanted]
    return f"{name} {' or '.join(str(value) for value in values)}"
