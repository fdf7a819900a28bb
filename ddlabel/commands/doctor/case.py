"""What the checks of `doctor` look at, and what they return."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ddlabel.core import rng
from ddlabel.core.registry import Registry
from ddlabel.data.bundle import Bundle, image_chunks
from ddlabel.data.labels import Array
from ddlabel.data.likeness import as_unit
from ddlabel.data.provenance import Entry, Input, sha256_of_path
from ddlabel.data.reading import STANDARD

# `certain`: it follows from the numbers. `likely`: other causes are rare. `possible`: a hint.
Certainty = Literal["certain", "likely", "possible"]
CERTAINTIES: tuple[Certainty, ...] = get_args(Certainty)
# An expert looks at so many images of a bundle at most.
MOST_IMAGES = 2000
_MENDED = "mended"
_CLASS_FILE = "classes.txt"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that may be wrong with a bundle.

    Attributes:
        check: The name of the check that found it.
        found: What was found, as one line.
        certainty: How sure it is.
        advice: What to do about it.
        commands: Command lines that do it, or that settle whether it is wrong.
        rows: The rows of the images that it is about; empty if it is about all of them.
    """

    check: str
    found: str
    certainty: Certainty
    advice: str
    commands: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Expert:
    """An expert that a bundle is compared with.

    Attributes:
        run: The folder of its run on command lines.
        classes: The names of its classes.
        mean: The channel means [C] of the images that it was trained on, in unit space.
        std: Their channel deviations [C].
        label: Returns logits [B, K] of images [B, C, H, W] in unit space.
    """

    run: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    label: Callable[[Tensor], Tensor]

    def log_probs(self, images: Array) -> Array:
        """Return log-probabilities [N, K] of images [N, C, H, W] in unit space."""
        logits = self.label(torch.from_numpy(np.ascontiguousarray(images)))
        return logits.double().log_softmax(1).cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A bundle of test images, and its name on command lines."""

    bundle: Bundle
    name: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """A bundle to look at, and its name on command lines."""

    bundle: Bundle
    name: str

    @cached_property
    def rows(self) -> Array:
        """The rows [n] of a fixed random sample that experts look at, in order."""
        return sample_rows(len(self.bundle))

    @cached_property
    def images(self) -> Array:
        """The images [n, C, H, W] of the sample, in unit space."""
        return as_unit(self.bundle.images[self.rows])

    @cached_property
    def hard_labels(self) -> Array:
        """The hard labels [n] of the sample."""
        return np.asarray(self.bundle.hard_labels[self.rows])

    @property
    def mended(self) -> str:
        """The name for a bundle that a command of a finding writes."""
        if self.name == STANDARD:
            return f"{_MENDED}.safetensors"
        path = Path(self.name)
        return str(path.with_name(f"{path.stem}-{_MENDED}{path.suffix}"))

    @cached_property
    def own_import(self) -> Entry | None:
        """The entry of the import that made the bundle, if it can be carried out again.

        Its files are where they were, unchanged, and no other command came after it.
        """
        history = self.bundle.history
        if len(history) != 1 or history[0].command != "import":
            return None
        # Class names may stand in the command line itself.
        files = [given for given in history[0].inputs if not given.role.startswith("class-")]
        are_there = [_is_there(given) for given in files]
        return history[0] if are_there and all(are_there) else None

    def is_mended_by(self, finding: Finding) -> bool:
        """Return whether a command line of a finding writes the bundle `mended`."""
        words = [word for line in finding.commands for word in shlex.split(line)]
        return any(self.mended in word or repr(self.mended) in word for word in words)

    def edit(self, *words: str) -> str:
        """Return the command line that edits the bundle."""
        return command_line("edit", self.name, self.mended, *words)

    def rewrite(self, **changes: str) -> tuple[str, ...]:
        """Return a command line that writes the bundle `b` with other fields.

        The values are Python expressions.
        """
        fields = ", ".join(f"{name}={value}" for name, value in changes.items())
        program = (
            f"from dataclasses import replace; import ddlabel; b = ddlabel.read({self.name!r}); "
            f"ddlabel.write({self.mended!r}, replace(b, {fields}))"
        )
        return (shlex.join(["python", "-c", program]),)


def _is_there(given: Input) -> bool:
    """Return whether the file or folder of a history is there, with the same content.

    The history may be a stranger's: no folder outside of the current one is read through.
    """
    path = Path(given.name)
    is_inside = not path.is_absolute() and ".." not in path.parts and path.name != ""
    if not path.is_file() and not (is_inside and path.is_dir()):
        return False
    return sha256_of_path(path) == given.sha256


# A check is `check(case)`; the arguments `expert` and `test` say what it needs besides.
checks: Registry[Callable[..., list[Finding]]] = Registry("check")


def class_list(names: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return class names as the value of an option, and the command lines that it needs before it.

    Names with commas need a file of lines.
    """
    if not any("," in name for name in names):
        return (), ",".join(names)
    lines = shlex.join(["printf", "%s\\n", *names])
    return (f"{lines} > {_CLASS_FILE}",), _CLASS_FILE


def command_line(*words: str) -> str:
    """Return a command line of this program."""
    return shlex.join(["ddlabel", *words])


def sample_rows(num_images: int) -> Array:
    """Return the rows [n] of at most 2,000 of so many images, drawn at random, in order."""
    generator = np.random.default_rng(rng.stream(0, "doctor"))
    return np.sort(generator.permutation(num_images)[:MOST_IMAGES])


def percent(share: float) -> str:
    """Return a share in [0, 1] as text."""
    return f"{100 * share:.1f} %"


def listed(rows: Sequence[int] | Array) -> str:
    """Return row numbers as text, the first of them if they are many."""
    shown = ", ".join(str(row) for row in rows[:8])
    return f"{shown}, … {len(rows) - 8} more" if len(rows) > 8 else shown


def blocks_of(bundle: Bundle) -> Any:
    """Yield the first row and the images [n, C, H, W] of each block of a bundle, in unit space."""
    for rows in image_chunks(bundle):
        yield rows.start, as_unit(bundle.images[rows])
