"""Seeded damages of a file, and the check that reading notices them or gives the same content."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ddlabel.core.errors import DDLabelError

# Invalid, unsafe and of another version: what a damaged file may be refused as.
REFUSALS = (3, 4, 5)
MAX_SECONDS = 5
MAX_RUN_BYTES = 256


class Artefact(NamedTuple):
    """A file that can be damaged.

    `donor` is a good file of the same kind with other content. `read` returns all content in a form
    that can be compared, and `judge`, given what was read of a damaged file, a word for it. It
    fails if that is other content than before.
    """

    path: Path
    content: bytes
    donor: bytes
    read: Callable[[], Any]
    judge: Callable[[Any], str]


Generator = random.Random
Mutation = Callable[[bytes, bytes, Generator], bytes]


def flip_bits(content: bytes, donor: bytes, generator: Generator) -> bytes:
    damaged = bytearray(content)
    for _ in range(generator.choice((1, 1, 1, 2, 8))):
        damaged[place_in(content, generator)] ^= 1 << generator.randrange(8)
    return bytes(damaged)


def overwrite_run(content: bytes, donor: bytes, generator: Generator) -> bytes:
    start, length = run_in(content, generator)
    return content[:start] + generator.randbytes(length) + content[start + length :]


def clear_run(content: bytes, donor: bytes, generator: Generator) -> bytes:
    start, length = run_in(content, generator)
    return content[:start] + bytes(length) + content[start + length :]


def delete_run(content: bytes, donor: bytes, generator: Generator) -> bytes:
    start, length = run_in(content, generator)
    return content[:start] + content[start + length :]


def insert_run(content: bytes, donor: bytes, generator: Generator) -> bytes:
    start, length = run_in(content, generator)
    return content[:start] + generator.randbytes(length) + content[start:]


def truncate(content: bytes, donor: bytes, generator: Generator) -> bytes:
    return content[: place_in(content, generator)]


def append(content: bytes, donor: bytes, generator: Generator) -> bytes:
    return content + generator.choice((generator.randbytes(64), bytes(64), b"\n", content, donor))


def repeat_run(content: bytes, donor: bytes, generator: Generator) -> bytes:
    start, length = run_in(content, generator)
    return content[: start + length] + content[start:]


def move_run(content: bytes, donor: bytes, generator: Generator) -> bytes:
    start, length = run_in(content, generator)
    rest = content[:start] + content[start + length :]
    place = generator.randrange(len(rest) + 1)
    return rest[:place] + content[start : start + length] + rest[place:]


def splice_run(content: bytes, donor: bytes, generator: Generator) -> bytes:
    """Bytes of another good file in their place, as a bad disk or a wrong copy gives them."""
    start, length = run_in(content, generator)
    return content[:start] + donor[start : start + length] + content[start + length :]


def splice_end(content: bytes, donor: bytes, generator: Generator) -> bytes:
    place = place_in(content, generator)
    return content[:place] + donor[place:]


def change_number(content: bytes, donor: bytes, generator: Generator) -> bytes:
    """Another number where the text of the file has one, so that it stays well-formed."""
    numbers = [*re.finditer(rb"\d+", content)]
    if not numbers:
        return flip_bits(content, donor, generator)
    number = generator.choice(numbers)
    other = generator.choice(
        (b"0", b"-1", b"7", b"1e9", b"65536", b"9" * 40, b"NaN", number[0][:1])
    )
    return content[: number.start()] + other + content[number.end() :]


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    overwrite_run,
    clear_run,
    delete_run,
    insert_run,
    truncate,
    append,
    repeat_run,
    move_run,
    splice_run,
    splice_end,
    change_number,
)


def place_in(content: bytes, generator: Generator) -> int:
    """A place to damage: half of them in the first 2 kB, where the structure of a file is."""
    end = len(content) if generator.random() < 0.5 else min(len(content), 2048)
    return generator.randrange(end)


def run_in(content: bytes, generator: Generator) -> tuple[int, int]:
    """The place and the length of a run of bytes; most are short."""
    start = place_in(content, generator)
    longest = min(MAX_RUN_BYTES, len(content) - start)
    return start, generator.randint(1, min(longest, generator.choice((1, 4, 16, MAX_RUN_BYTES))))


def damage(content: bytes, donor: bytes, generator: Generator) -> bytes:
    """Content with one mutation or two, which is no good file."""
    damaged = content
    while damaged in (content, donor):
        for _ in range(generator.choice((1, 1, 1, 2))):
            # What the first has emptied, the second leaves.
            if damaged:
                damaged = generator.choice(MUTATIONS)(damaged, donor, generator)
    return damaged


def mutant(artefact: Artefact, number: int) -> bytes:
    """The damaged file of a number, the same in every process."""
    generator = random.Random(f"{artefact.path.name}/{number}")
    return damage(artefact.content, artefact.donor, generator)


def try_mutants(artefact: Artefact, numbers: Iterable[int]) -> tuple[Counter[str], float]:
    """Read damaged files; return how many had which outcome, and the longest time in seconds."""
    counts: Counter[str] = Counter()
    longest = 0.0
    for number in numbers:
        artefact.path.write_bytes(mutant(artefact, number))
        begin = time.perf_counter()
        try:
            outcome = read_mutant(artefact)
        except BaseException as error:
            error.add_note(f"mutant {number} of {artefact.path}")
            raise
        longest = max(longest, time.perf_counter() - begin)
        counts[outcome] += 1
    artefact.path.write_bytes(artefact.content)
    assert longest < MAX_SECONDS
    return counts, longest


def read_mutant(artefact: Artefact) -> str:
    """Return a word for what reading gave; fail on other content and on errors not of ours."""
    try:
        found = artefact.read()
    except DDLabelError as error:
        check_refusal(error, artefact.path)
        return "refused"
    return artefact.judge(found)


def check_refusal(error: DDLabelError, path: Path) -> None:
    assert error.exit_code in REFUSALS, repr(error)
    # Of a run whose records are those of another, it is a checkpoint that is named.
    assert str(path.parent) in str(error)
    assert "\n" not in str(error)
