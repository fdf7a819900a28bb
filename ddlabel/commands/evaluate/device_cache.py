"""What stays on the machine from one student to the next, and which students go side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from ddlabel.commands.evaluate.experiment import Experiment, student, training_flops
from ddlabel.core.config import EvaluateOptions
from ddlabel.core.errors import ResourceError
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import canonical_json
from ddlabel.methods.nets import Network
from ddlabel.training.batches import OnlineLabels
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.labeler import Labeler
from ddlabel.training.runtime import Runtime
from ddlabel.training.stacking import Forward, stackable

T = TypeVar("T")
# An online teacher's labels of pictures that other students of the same seed will see too.
_MEMO_BYTES = 1 << 29
# Students side by side on a GPU, if memory allows.
_MOST = 32
# In what students of one stack may differ.
_FREE = {"seed", "seeds", "loss", "optimizer", "schedule", "warm_up", "augment", "mix"}


@dataclass(frozen=True, kw_only=True)
class Student:
    """One training: what is learned from, what is tested on, the classes of both among all, and the seed."""

    case: Experiment
    bundle: Bundle
    test: Bundle
    columns: Sequence[int]
    seed: int


class DeviceCache:
    """The machine, and what is kept on it: data, networks, teachers and their labels."""

    def __init__(self, cases: Sequence[Experiment]) -> None:
        self.machine = Runtime.of(cases[0].options)
        self._several = len(cases) > 1
        self._kept: dict[Any, Any] = {}
        self._of_seed: dict[Any, Any] = {}
        self._memo_bytes = 0

    def stack(self, pending: Sequence[tuple[Experiment, int]], largest: float) -> list[int]:
        """Which of these cases and seeds to train side by side: the first and those like it, at most `largest`.

        On a CPU `--stack auto` is one: vmap makes grouped convolutions, which are slow there. ResourceError for more
        than there is memory for.
        """
        case, seed = pending[0]
        options, wanted = case.options, case.options.stack
        kind = _kind(case)
        if kind is None or wanted == 1 or (wanted == "auto" and self.machine.device.type == "cpu"):
            return [0]
        body = student(case, case.bundle(seed), seed).body
        room = self.machine.max_stack_size(
            body, batch_size=options.batch_size or 1, shape=case.test.images.shape[1:]
        )
        alike = [index for index, (other, _) in enumerate(pending) if _kind(other) == kind]
        most = _MOST if isinstance(wanted, str) else min(int(wanted), len(alike))
        if wanted != "auto" and most > room:
            raise ResourceError(
                f"--stack is {wanted:g}: there is memory for {room} such students; take that, or auto"
            )
        return alike[: max(1, int(min(most, room, largest)))] if stackable(body) else [0]

    def forget(self) -> None:
        """Drop what belongs to one seed: bundles drawn for it, and the teachers' labels of its pictures."""
        self._of_seed.clear()
        self._memo_bytes = 0

    def data(self, bundle: Bundle) -> DeviceBundle:
        """A bundle on the device."""
        # The bundle is kept with its data: its identity must stay its own.
        return _keep(
            self._of_seed,
            id(bundle),
            lambda: (DeviceBundle.of(bundle, self.machine.device), bundle),
        )[0]

    def networks(self, like: Student, count: int, per_epoch: int) -> tuple[list[Network], Forward]:
        """A stack of networks for all students of a kind: what was compiled for it serves them all."""
        case, shape = like.case, like.bundle.images.shape[1:]

        def make() -> tuple[list[Network], Forward]:
            networks = [student(case, like.bundle, 0).to(self.machine.device) for _ in range(count)]
            bodies = [network.body for network in networks]
            images = _images(case.options, per_epoch)
            return networks, self.machine.forward(
                bodies, num_images=images, shape=shape, backward=True
            )

        kind = (
            case.options.net,
            shape,
            len(like.bundle.classes),
            like.bundle.pixels,
            case.digests.get("zca"),
        )
        return _keep(self._kept, ("networks", count, *kind), make)

    def labeler(self, case: Experiment, per_epoch: int) -> Labeler:
        """The case's teacher, for students of so many steps an epoch."""
        key = ("teacher", *((str(run.folder), step) for run, step in case.teacher))
        images = _images(case.options, per_epoch)
        return _keep(
            self._kept, key, partial(Labeler, case.teacher, self.machine, num_images=images)
        )

    def teach(
        self, label: Callable[[Tensor], Tensor], pictures: str, columns: Sequence[int]
    ) -> OnlineLabels:
        """A labeler's logits for some classes; `pictures` stands for the images that it will be shown."""
        chosen = torch.tensor(columns, device=self.machine.device)

        def at(images: Tensor, step: int) -> Tensor:
            known: Tensor | None = self._of_seed.get((pictures, step))
            if known is None:
                known = label(images)[:, chosen]
                if self._several and self._memo_bytes < _MEMO_BYTES:
                    self._of_seed[pictures, step] = known
                    self._memo_bytes += known.nbytes
            return known

        return at

    def flops(self, like: Student) -> int:
        """Floating-point operations of a student's training."""
        inputs = canonical_json(like.case.digests)  # bundles differ in their views too
        kind = (
            "flops",
            like.case.options,
            inputs,
            like.bundle.images.shape,
            len(like.bundle.classes),
        )
        return _keep(self._kept, kind, partial(training_flops, like.case, like.bundle))


def _kind(case: Experiment) -> Any:
    """What students of one stack have in common; None for a case whose students have to be alone."""
    options = case.options
    if options.continual is not None or options.select == "val" or case.role.startswith("random"):
        return None
    bundle, recorded = case.bundle(options.seed), options.recorded()
    same = canonical_json({name: value for name, value in recorded.items() if name not in _FREE})
    boxes = None if bundle.views is None else bundle.views.boxes.shape
    return (
        same,
        bundle.images.shape,
        boxes,
        bundle.pixels,
        bundle.classes,
        case.digests.get("zca"),
        id(case.test),
    )


def _images(options: EvaluateOptions, per_epoch: int) -> int:
    """How many images the students of a case see."""
    return per_epoch * options.epochs * (options.batch_size or 1) * options.seeds


def _keep(kept: dict[Any, Any], key: Any, make: Callable[[], T]) -> T:
    """What is kept under a key, made when it is first asked for."""
    if key not in kept:
        kept[key] = make()
    return cast(T, kept[key])
