"""Which students are trained side by side."""

from collections.abc import Hashable, Sequence

from ddlabel.commands.evaluate.experiment import Experiment
from ddlabel.commands.evaluate.training_plan import batch_size_of
from ddlabel.core.errors import ResourceError, UsageError
from ddlabel.data.provenance import canonical_json
from ddlabel.training.runtime import Runtime
from ddlabel.training.stacking import stackable

# The most students side by side on a GPU with `--stack auto`, if memory allows.
_MAX_AUTO = 32
# Options in which the students of one stack may differ.
_FREE = {"seed", "seeds", "loss", "optimizer", "schedule", "warm_up", "augment", "mix"}


def next_stack(
    pending: Sequence[tuple[Experiment, int]], runtime: Runtime, limit: float
) -> list[int]:
    """Return the indices of the students to train side by side next.

    These are the first of the pending students, given as experiment and seed, and those of its
    kind, at most `limit`. With `--stack auto` on a CPU it is the first alone: vmap makes grouped
    convolutions, which are slow there.

    Raises:
        ResourceError: The user asks for more students than there is memory for.
        UsageError: The user asks for students side by side in bf16 on a CPU.
    """
    first, seed = pending[0]
    kind = _kind(first)
    if kind is None or not _wants_stack(first, runtime):
        return [0]
    same_kind = [
        index for index, (experiment, _) in enumerate(pending) if _kind(experiment) == kind
    ]
    body = first.build_student(first.bundle_for(seed), seed).body
    max_size = runtime.max_stack_size(
        body, batch_size=batch_size_of(first.options), shape=first.test.images.shape[1:]
    )
    if not stackable(body):
        return [0]
    size = _size(first.options.stack, min(len(same_kind), limit), max_size)
    return same_kind[: max(1, int(size))]


def _wants_stack(experiment: Experiment, runtime: Runtime) -> bool:
    """Return whether several students are to be trained side by side.

    Raises:
        UsageError: They are to be trained in bf16 on a CPU, where torch would not do it.
    """
    wanted = experiment.options.stack
    is_cpu = runtime.device.type == "cpu"
    if wanted == "auto":
        return not is_cpu
    if wanted != 1 and is_cpu and runtime.precision == "bf16":
        raise UsageError(
            f"--stack is {wanted:g} and the precision bf16: on a CPU, torch convolves students "
            "side by side in float32; add --precision fp32, or leave out --stack"
        )
    return wanted != 1


def _size(wanted: float | str, most: float, max_size: int) -> float:
    """Return the size of a stack of at most so many students, for which the memory has room.

    Raises:
        ResourceError: The user asks for more students than there is memory for.
    """
    if isinstance(wanted, str):
        return min(_MAX_AUTO, most, max_size)
    size = min(int(wanted), most)
    if size > max_size:
        raise ResourceError(
            f"--stack is {wanted:g} and there is memory for {max_size} such students: "
            "use that number, or auto"
        )
    return size


def _kind(experiment: Experiment) -> Hashable:
    """Return what the students of one stack have in common.

    It is None for an experiment whose students cannot be stacked.
    """
    options = experiment.options
    is_random = experiment.role.startswith("random")
    if options.continual is not None or options.select == "val" or is_random:
        return None
    bundle = experiment.bundle_for(options.seed)
    fixed = {name: value for name, value in options.recorded().items() if name not in _FREE}
    return (
        canonical_json(fixed),
        bundle.images.shape,
        None if bundle.views is None else bundle.views.boxes.shape,
        bundle.pixels,
        bundle.classes,
        experiment.digests.get("zca"),
        id(experiment.test),
    )
