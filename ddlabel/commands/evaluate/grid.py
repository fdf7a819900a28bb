"""Training the students of all experiments of a grid."""

import math
import os
from collections.abc import Callable, Iterator, Sequence, Set
from typing import NamedTuple

from ddlabel.commands.evaluate.device_cache import DeviceCache
from ddlabel.commands.evaluate.experiment import Experiment
from ddlabel.commands.evaluate.records import student_key, student_record
from ddlabel.commands.evaluate.stacking_plan import next_stack
from ddlabel.commands.evaluate.students import train_stack
from ddlabel.core.memory import is_out_of_memory
from ddlabel.data.record import Record
from ddlabel.training.loop import Progress
from ddlabel.training.stacking import is_unstackable
from ddlabel.training.warning import warn_once


class TrainedStudent(NamedTuple):
    """A student that was trained: the number of its experiment, its seed, and its record."""

    experiment: int
    seed: int
    record: Record


class _Pending(NamedTuple):
    """A student that is to be trained: its seed, the number of its experiment, and its key."""

    seed: int
    experiment: int
    key: str


def train_students(
    experiments: Sequence[Experiment],
    finished: Callable[[], Set[str]] = frozenset,
    progress: Progress = iter,
) -> Iterator[TrainedStudent]:
    """Train one student for each seed of each settled experiment, and yield it.

    All experiments of a seed come before the next seed. Their students have the same weights to
    begin with, the same order of images and, with the same augmentation, the same augmented images,
    so that an online teacher labels these once for all.

    Args:
        experiments: Experiments that `settle` returned.
        finished: Returns the keys of students to leave out, see `student_key`. It is called again
            after every training, because other processes may train the same students.
        progress: Wraps the steps of each training, to show a progress bar.

    Raises:
        ResourceError: The device is not there or has not enough memory.
    """
    cache = DeviceCache(experiments)
    pending = _without(_pending_students(experiments), finished())
    limit = math.inf
    seed_on_device = None
    while pending:
        candidates = [(experiments[student.experiment], student.seed) for student in pending]
        chosen = next_stack(candidates, cache.runtime, limit)
        stack = [pending[index] for index in chosen]
        if stack[0].seed != seed_on_device:
            cache.forget_seed()
            seed_on_device = stack[0].seed
        outcomes = None
        try:
            outcomes = train_stack(cache, [candidates[index] for index in chosen], progress)
        except (MemoryError, RuntimeError) as error:
            limit = _smaller_stack(len(stack), error)
        if outcomes is None:
            # Not in the handler: there the error keeps the tensors of its frames alive.
            cache.forget_networks()
            continue
        unfinished = _without(pending, finished())
        if len(unfinished) < len(pending):
            unfinished = _begin_elsewhere(unfinished)
        pending = [student for student in unfinished if student not in stack]
        for (seed, number, _), (result, cost) in zip(stack, outcomes, strict=True):
            record = student_record(experiments[number], seed, result=result, cost=cost)
            yield TrainedStudent(number, seed, record)


def _smaller_stack(size: int, error: MemoryError | RuntimeError) -> int:
    """Return the size of the stacks to go on with after the error of one; raise any other error.

    A stack that does not fit into memory is halved. Students with a layer that cannot be stacked
    are trained one at a time.
    """
    if size > 1 and is_out_of_memory(error):
        smaller = size // 2
        warn_once(f"{size} students side by side: out of memory; going on with {smaller}")
        return smaller
    if size > 1 and is_unstackable(error):
        warn_once("the network has a layer that cannot be stacked: its students train one by one")
        return 1
    raise error


def _pending_students(experiments: Sequence[Experiment]) -> list[_Pending]:
    """Return all students, sorted by seed; each key once.

    Two experiments may be the same.
    """
    students = []
    for number, experiment in enumerate(experiments):
        for seed in experiment.seeds:
            students.append(_Pending(seed, number, student_key(experiment, seed)))
    by_key: dict[str, _Pending] = {}
    for student in sorted(students):
        by_key.setdefault(student.key, student)
    return list(by_key.values())


def _without(students: Sequence[_Pending], finished: Set[str]) -> list[_Pending]:
    return [student for student in students if student.key not in finished]


def _begin_elsewhere(pending: Sequence[_Pending]) -> list[_Pending]:
    """Return the students with the seeds rotated by a number of this process.

    Another process trains the same students: both should begin with different ones.
    """
    seeds = sorted({student.seed for student in pending})
    if not seeds:
        return []
    first = seeds[os.getpid() % len(seeds)]
    from_first = [student for student in pending if student.seed >= first]
    before_first = [student for student in pending if student.seed < first]
    return from_first + before_first
