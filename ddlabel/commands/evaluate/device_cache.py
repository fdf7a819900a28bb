"""The device, and what is kept on it from one student to the next."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from ddlabel.commands.evaluate.experiment import Experiment, Student
from ddlabel.commands.evaluate.training_plan import images_in_training, last_batch_in_training
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import canonical_json
from ddlabel.methods.nets import Network
from ddlabel.training.batches import OnlineLabels
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.labeler import Labeler
from ddlabel.training.memory import release_memory
from ddlabel.training.runtime import Runtime
from ddlabel.training.stacking import Forward

T = TypeVar("T")
# The most bytes of a teacher's labels that are kept for other students of the same seed.
_MAX_LABEL_BYTES = 1 << 29


class DeviceCache:
    """The runtime of an evaluation, and its data, networks, teachers and their labels.

    Attributes:
        runtime: Where and how the students are trained.
    """

    def __init__(self, experiments: Sequence[Experiment]) -> None:
        self.runtime = Runtime.of(experiments[0].options)
        self._keeps_labels = len(experiments) > 1
        self._kept: dict[Hashable, Any] = {}
        self._kept_for_seed: dict[Hashable, Any] = {}
        self._label_bytes = 0

    def forget_seed(self) -> None:
        """Drop what belongs to one seed: the bundles drawn for it and the teachers' labels."""
        self._kept_for_seed.clear()
        self._label_bytes = 0

    def forget_networks(self) -> None:
        """Drop the networks, and give the memory that torch keeps back to the device."""
        for key in [*self._kept]:
            if isinstance(key, tuple) and key[0] == "networks":
                del self._kept[key]
        release_memory()

    def data(self, bundle: Bundle) -> DeviceBundle:
        """Return a bundle on the device."""

        def copy_to_device() -> tuple[DeviceBundle, Bundle]:
            # Keep the bundle with its copy, so that no other bundle gets its id.
            return DeviceBundle.fitting(bundle, self.runtime.device), bundle

        data, _ = _keep(self._kept_for_seed, id(bundle), copy_to_device)
        return data

    def networks(
        self, like: Student, num_networks: int, per_epoch: int
    ) -> tuple[list[Network], Forward]:
        """Return networks for `num_networks` students like this one, and the stack of them.

        All students of a kind are trained in the same networks, which are compiled once. They take
        `per_epoch` steps in an epoch.
        """
        experiment = like.experiment
        shape = like.bundle.images.shape[1:]
        last_batch = last_batch_in_training(experiment.options, len(like.bundle))

        def make() -> tuple[list[Network], Forward]:
            networks = []
            for _ in range(num_networks):
                network = experiment.build_student(like.bundle, seed=0)
                networks.append(network.to(self.runtime.device))
            forward = self.runtime.forward(
                [network.body for network in networks],
                num_images=images_in_training(experiment.options, per_epoch),
                shape=shape,
                backward=True,
                last_batch=last_batch,
            )
            return networks, forward

        kind = (
            "networks",
            num_networks,
            experiment.options.net,
            shape,
            like.bundle.num_classes,
            like.bundle.pixels,
            experiment.digests.get("zca"),
            last_batch,
        )
        return _keep(self._kept, kind, make)

    def precision(self, like: Student, per_epoch: int) -> str:
        """Return the precision in which students like this one are trained."""
        work = self.runtime.work(
            like.experiment.build_student(like.bundle, seed=0).body,
            num_images=images_in_training(like.experiment.options, per_epoch),
            shape=like.bundle.images.shape[1:],
            backward=True,
        )
        return work.precision

    def labeler(self, experiment: Experiment, per_epoch: int) -> Labeler:
        """Return the teacher of an experiment whose students take `per_epoch` steps in an epoch."""
        checkpoints = tuple((str(run.folder), step) for run, step in experiment.teacher)
        make = partial(
            Labeler,
            experiment.teacher,
            self.runtime,
            num_images=images_in_training(experiment.options, per_epoch),
        )
        return _keep(self._kept, ("teacher", checkpoints), make)

    def online_labels(
        self, label: Callable[[Tensor], Tensor], images_key: str, classes: Sequence[int]
    ) -> OnlineLabels:
        """Return the labels of a teacher for some classes, by step.

        Args:
            label: Returns the teacher's logits [B, K] of images.
            images_key: Identifies the images of all steps: students with the same key see the same
                images, which are labelled once.
            classes: The numbers of the classes.
        """
        columns = torch.tensor(classes, device=self.runtime.device)

        def labels_of_step(images: Tensor, step: int) -> Tensor:
            known: Tensor | None = self._kept_for_seed.get((images_key, step))
            if known is not None:
                return known
            logits = label(images)[:, columns]
            if self._keeps_labels and self._label_bytes < _MAX_LABEL_BYTES:
                self._kept_for_seed[images_key, step] = logits
                self._label_bytes += logits.nbytes
            return logits

        return labels_of_step

    def flops(self, student: Student) -> int:
        """Return the floating-point operations of a student's training."""
        experiment = student.experiment
        kind = (
            "flops",
            experiment.options,
            canonical_json(experiment.digests),  # bundles of one shape differ in their views
            student.bundle.images.shape,
            student.bundle.num_classes,
        )
        count = partial(experiment.training_cost, student.bundle)
        return _keep(self._kept, kind, count).flops


def _keep(kept: dict[Hashable, Any], key: Hashable, make: Callable[[], T]) -> T:
    """Return what is kept under a key; `make` it when it is first asked for."""
    if key not in kept:
        kept[key] = make()
    return cast(T, kept[key])
