"""Named conventions of normalisation; the table is `normalisations.toml`."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Entry

# Not in the table: mean and deviation of the images at hand.
MEASURED = "measured"


class Convention(NamedTuple):
    """Mean and deviation of the channels in unit space, and whose convention it is.

    One number stands for every channel.
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str

    def of_channels(self, num_channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean [C] and std [C].

        Raises:
            UsageError: The convention is for another number of channels.
        """
        if len(self.mean) == 1:
            return self.mean * num_channels, self.std * num_channels
        if len(self.mean) != num_channels:
            raise UsageError(
                f"--normalise {self.name} is for {len(self.mean)} channels, and the images have "
                f"{num_channels}: choose another convention, measured or none"
            )
        return self.mean, self.std


class Conventions(dict[str, Convention]):
    """Conventions by name."""

    def entries(self) -> list[Entry]:
        """Return every convention with its numbers and its source, as `ddlabel list` shows it."""
        entries = []
        for name, convention in self.items():
            numbers = {"mean": convention.mean, "std": convention.std}
            entries.append(Entry(name=name, options=numbers, summary=convention.source))
        return entries

    def name_of(self, mean: Sequence[float], std: Sequence[float]) -> str | None:
        """Return the convention that has these numbers for each channel; None if none has."""
        for name, convention in self.items():
            if len(convention.mean) not in (1, len(mean)):
                continue
            if convention.of_channels(len(mean)) == (tuple(mean), tuple(std)):
                return name
        return None


def _read_table() -> Conventions:
    path = Path(__file__).with_name("normalisations.toml")
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    conventions = Conventions()
    for name, row in content.items():
        conventions[name] = Convention(
            name=name,
            mean=tuple(row["mean"]),
            std=tuple(row["std"]),
            source=row["source"],
        )
    return conventions


conventions = _read_table()
NAMES = (*conventions, MEASURED)
