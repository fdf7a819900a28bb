"""The students that `evaluate --save-students` kept, looking at images."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ddlabel.core.config import ShowOptions
from ddlabel.core.errors import IncompatibleError
from ddlabel.data import saved_students
from ddlabel.data.bundle import Bundle
from ddlabel.data.class_names import describe_difference
from ddlabel.data.labels import Array
from ddlabel.data.saved_students import SavedStudent
from ddlabel.figures.gradcam import Attention, Looks
from ddlabel.figures.students import Student, series_of
from ddlabel.methods.attention import grad_cam
from ddlabel.methods.nets import Network, build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training.device_data import to_device, to_unit
from ddlabel.training.runtime import Runtime


def attention_of(bundle: Bundle, options: ShowOptions) -> Attention:
    """Return the images and the students of the options, one of each setting: the first seed.

    Raises:
        InvalidInputError: The folder has no students, or a file is damaged.
        IncompatibleError: A student has other classes than the bundle, or takes other images.
    """
    runtime = Runtime.of(options)
    kept = saved_students.read_all(str(options.students))
    for about, path in kept:
        _check_fits(bundle, about, path)
    chosen = _first_of_each_setting(kept)

    def look(rows: Array) -> Sequence[Looks]:
        looks = []
        for name, about, path in chosen:
            network = _network_of(about, path).to(runtime.device).eval()
            images = to_unit(to_device(bundle.images[rows], runtime.device))
            prepared = network.prepare(images)
            with torch.no_grad():
                predicted = network.body(prepared).argmax(1)
            maps = grad_cam(network.body, prepared, predicted)
            looks.append(
                Looks(student=name, maps=maps.cpu().numpy(), predicted=predicted.cpu().numpy())
            )
        return looks

    return Attention(bundle=bundle, look=look)


def _check_fits(bundle: Bundle, about: SavedStudent, path: Path) -> None:
    if about.classes != bundle.classes:
        difference = describe_difference(about.classes, bundle.classes)
        raise IncompatibleError(f"the student {path} {difference}")
    expected = (about.channels, about.size, about.size)
    if bundle.images.shape[1:] != expected:
        raise IncompatibleError(
            f"the bundle has images {list(bundle.images.shape[1:])} (C, H, W): the student {path} "
            f"expects {list(expected)}"
        )


def _first_of_each_setting(
    kept: Sequence[tuple[SavedStudent, Path]],
) -> list[tuple[str, SavedStudent, Path]]:
    """Return the students that differ in more than the seed, with a name for each."""
    students = []
    saved_of = {}
    for about, path in kept:
        settings = {name: str(value) for name, value in about.options.items() if name != "seed"}
        student = Student(accuracy=about.accuracy, bundle=about.bundle, settings=settings)
        students.append(student)
        saved_of[id(student)] = (about, path)
    return [(each.name, *saved_of[id(each.students[0])]) for each in series_of(students)]


def _network_of(about: SavedStudent, path: Path) -> Network:
    """Return the network of a student; raise IncompatibleError if its weights do not fit it."""
    network = build(
        about.net,
        normalisation(about.mean, about.std),
        channels=about.channels,
        size=about.size,
        num_classes=len(about.classes),
        seed=0,
    )
    arrays = saved_students.weights_of(path)
    try:
        network.body.load_state_dict({n: torch.from_numpy(array) for n, array in arrays.items()})
    except RuntimeError as error:
        raise IncompatibleError(f"{path}: the weights do not fit {about.net}") from error
    return network
