"""The files that the rows of `tests/cli/refusals.toml` name, all in one folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from experts import train_small_expert, write_run
from format_samples import forge, small, split
from refusal_sources import save_sources
from result_files import students, write_results
from samples import bundle_of, make_bundle, with_arrays
from view_samples import recorded_views

from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.schema import LabelMeta, Pixels
from ddlabel.training.resume import save_state

NUM_CLASSES = 10
# A view of the whole image and one of its upper left quarter.
BOXES = np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5]], np.float32)

GRID = """\
command = "evaluate"
[options]
bundle = "few.safetensors"
test = "test.safetensors"
[axes]
batch_size = [10, 20]
"""


def save_all() -> None:
    """Make all files in the current folder."""
    save_bundles()
    save_damaged_bundles()
    save_forged_headers()
    save_damaged_hdf5()
    save_runs()
    save_sources(Path("foreign"))
    save_results()


def save_results() -> None:
    """Write results of two losses, whose students have different seeds."""
    groups = [students([50, 60], loss="soft-ce"), students([70], loss="gift", first_seed=5)]
    write_results("results.jsonl", *groups)


def hard_bundle(images: int, classes: int = NUM_CLASSES, **shape: int) -> Bundle:
    """A bundle of noise with hard labels only."""
    return replace(make_bundle(images=images, classes=classes, **shape), soft=None)


def with_soft(bundle: Bundle, space: str, values=None, source: str = "") -> Bundle:
    """The bundle with the soft labels `values`; by default noise that is valid in every space."""
    if values is None:
        values = np.random.default_rng(1).uniform(1, 2, (len(bundle), bundle.num_classes))
        values /= values.sum(1, keepdims=True)
    meta = LabelMeta(space=space, source=source)
    return with_arrays(bundle, soft_labels=np.asarray(values, np.float32), soft=meta)


def with_dense(bundle: Bundle, space: str = "logits") -> Bundle:
    """The bundle with labels for two views of each image."""
    values = np.random.default_rng(2).uniform(1, 2, (len(bundle), 2, bundle.num_classes))
    values /= values.sum(-1, keepdims=True)
    meta = LabelMeta(space=space)
    return with_arrays(
        bundle, dense_labels=values.astype(np.float32), dense_boxes=BOXES, dense=meta
    )


def save_bundles() -> None:
    """Write the bundles that are whole."""
    few = hard_bundle(20)
    one_hot = np.eye(NUM_CLASSES)[few.hard_labels]
    no_mass = np.where(np.arange(NUM_CLASSES) < 9, 0.0, 0.5) * np.ones((20, 1))
    bundles = {
        "few": few,
        "real": hard_bundle(60),
        "test": hard_bundle(20),
        "single": hard_bundle(10),
        "three": make_bundle(images=9),
        "colour": hard_bundle(20, channels=3),
        "larger": hard_bundle(20, size=9),
        "wide": oblong_bundle(),
        "too-large-to-whiten": hard_bundle(10, channels=3, size=65),
        "soft": with_soft(few, "logits"),
        "probs": with_soft(few, "probs"),
        "direction": with_soft(few, "direction"),
        "mass": with_soft(few, "mass", no_mass),
        "one-hot": with_soft(few, "probs", one_hot),
        "no-mass": with_soft(few, "mass", np.zeros((20, NUM_CLASSES))),
        "refined": with_soft(few, "probs", source="expert@2 refined at 0.1"),
        "large-logits": with_soft(few, "logits", one_hot * 7e4),
        "largest-logits": with_soft(few, "logits", one_hot * 3.4e38),
        "dense": with_dense(with_soft(few, "logits")),
        "dense-only": with_dense(few),
        "dense-direction": with_dense(few, "direction"),
        "dense-soft-direction": with_dense(with_soft(few, "direction")),
        "flipped": recorded_views("flip"),
        "mixed": recorded_views("cutmix"),
    }
    for name, bundle in bundles.items():
        formats.write(f"{name}.safetensors", bundle)
    formats.write("golden.h5", small())


def oblong_bundle() -> Bundle:
    return bundle_of(
        classes=tuple(f"class {i}" for i in range(NUM_CLASSES)),
        pixels=Pixels(space="uint8", mean=(0.5,), std=(0.25,)),
        images=np.zeros((20, 1, 8, 6), np.uint8),
        hard_labels=np.arange(20) % NUM_CLASSES,
    )


def save_damaged_bundles() -> None:
    """Write bundles that are cut off, changed, or something else."""
    content = Path("few.safetensors").read_bytes()
    changed = bytearray(content)
    changed[-1] ^= 1
    Path("changed.safetensors").write_bytes(changed)
    Path("cut.safetensors").write_bytes(content[:-1])
    Path("foreign.safetensors").write_bytes(b"hello" * 100)
    Path("empty.safetensors").write_bytes(b"")
    Path("notes.txt").write_text("A note.\n")
    Path("cells.toml").write_text(GRID)
    Path("folder.safetensors").mkdir()
    # A safetensors file of another program, and one whose header was changed without its digest.
    Path("weights.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    Path("edited.safetensors").write_bytes(content.replace(b"class 0", b"klass 0"))


def save_forged_headers() -> None:
    """Write `forged/NAME.safetensors`: headers without meaning under digests that are right."""
    folder = Path("forged")
    folder.mkdir()
    formats.write("small.safetensors", small())
    content = Path("small.safetensors").read_bytes()
    for name, change in FORGERIES.items():
        entries, data = split(content)
        forge(folder / f"{name}.safetensors", entries, data, change)


# What is changed in the header of `small()`, by the name of the file.
FORGERIES = {
    "format": lambda body: body.update(format=2),
    "classes-text": lambda body: body.update(classes="cat"),
    "classes-number": lambda body: body.update(classes=[1, 2]),
    "classes-equal": lambda body: body.update(classes=["cat", "cat"]),
    "classes-none": lambda body: body.update(classes=[]),
    "unknown-part": lambda body: body.update(colour="red"),
    "pixel-space": lambda body: body["pixels"].update(space="hsv"),
    "pixels-float": lambda body: body["pixels"].update(space="unit"),
    "mean": lambda body: body["pixels"].update(mean=[0.5, 0.5]),
    "std": lambda body: body["pixels"].update(std=[0]),
    "label-space": lambda body: body["soft"].update(space="odds"),
    "temperature": lambda body: body["soft"].update(temperature=0),
    "source": lambda body: body["soft"].update(source=7),
    "no-meta": lambda body: body.update(soft=None),
    "no-images": lambda body: body["arrays"].pop("images"),
    "unknown-array": lambda body: body["arrays"].update(masks=body["arrays"]["hard_labels"]),
    "no-boxes": lambda body: body["arrays"].pop("dense_boxes"),
    "dtype": lambda body: body["arrays"]["hard_labels"].update(dtype="float32"),
    "axes": lambda body: body["arrays"]["hard_labels"].update(shape=[2, 1]),
    "length": lambda body: body["arrays"]["hard_labels"].update(shape=[3]),
    "header-size": lambda body: body.update(classes=["x" * 2**20]),
    "values": lambda body: body["dense"].update(space="probs"),
    "num-classes": lambda body: body["arrays"]["soft_labels"].update(shape=[2, 3]),
    "no-pixels": lambda body: body.pop("pixels"),
}


def save_damaged_hdf5() -> None:
    """Write `hdf5/NAME.h5`: HDF5 files that are no bundles."""
    folder = Path("hdf5")
    folder.mkdir()
    content = Path("golden.h5").read_bytes()
    (folder / "cut.h5").write_bytes(content[: len(content) // 2])
    (folder / "foreign.h5").write_bytes(b"hello" * 100)
    with h5py.File(folder / "weights.h5", "w") as file:
        file["weights"] = np.zeros(2)
    for name, change in HDF5_DAMAGES.items():
        path = folder / f"{name}.h5"
        path.write_bytes(content)
        with h5py.File(path, "a") as file:
            change(file)


def _as_group(file: h5py.File) -> None:
    del file["hard_labels"]
    file.create_group("hard_labels")


def _as_link(file: h5py.File) -> None:
    del file["hard_labels"]
    file["hard_labels"] = h5py.ExternalLink("other.h5", "/hard_labels")


def _as_external(file: h5py.File) -> None:
    del file["hard_labels"]
    file.create_dataset("hard_labels", (2,), "<i8", external=[("other.raw", 0, 16)])


def _as_chunks(file: h5py.File) -> None:
    values = file["hard_labels"][()]
    del file["hard_labels"]
    file.create_dataset("hard_labels", data=values, chunks=(1,))


def _as_other_dtype(file: h5py.File) -> None:
    del file["hard_labels"]
    file["hard_labels"] = np.zeros(2, np.int32)


def _with_other_attribute(file: h5py.File) -> None:
    file.attrs["ddlabel"] = 7


def _with_another_array(file: h5py.File) -> None:
    file["more"] = np.zeros(2)


HDF5_DAMAGES = {
    "group": _as_group,
    "link": _as_link,
    "external": _as_external,
    "chunks": _as_chunks,
    "dtype": _as_other_dtype,
    "attribute": _with_other_attribute,
    "more": _with_another_array,
}


def save_runs() -> None:
    """Write an expert run and damaged copies of it, and runs for other images."""
    real = formats.read("real.safetensors")
    expert = train_small_expert(
        real, Path("expert"), epochs=2, save_every=0.5, batch_size=30
    ).folder
    colour = formats.read("colour.safetensors")
    write_run(Path("colour-expert"), colour, net="convnet-d1:width=4")
    write_run(Path("larger-expert"), formats.read("larger.safetensors"), net="convnet-d1:width=4")
    write_run(Path("three-expert"), formats.read("three.safetensors"), net="convnet-d1:width=4")
    write_run(Path("batch-norm-expert"), real, net="convnet-d1:width=4,norm=batch", steps=2)
    write_run(Path("unfinished-expert"), real, net="convnet-d1:width=4", steps=0)
    for name, change in RUN_DAMAGES.items():
        folder = Path(name)
        shutil.copytree(expert, folder)
        change(folder)
    save_state(Path("kept.safetensors.resume"), {"key": "of other options", "iteration": 4})
    Path("folder").mkdir()
    shutil.copy(expert / "expert.json", "folder/notes.txt")


def _flip_last_byte(folder: Path) -> None:
    path = max(folder.glob("step-*"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _keep_last_checkpoint(folder: Path) -> None:
    for path in sorted(folder.glob("step-*"))[:-1]:
        path.unlink()


def _remove_last_checkpoint(folder: Path) -> None:
    max(folder.glob("step-*")).unlink()


def _replace_in_info(folder: Path, **changes) -> None:
    info = replace(ExpertRun(folder).about, **changes)
    ExpertRun.create(folder, info)


def _write_newer_format(folder: Path) -> None:
    path = folder / "expert.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))


def _remove_accuracies(folder: Path) -> None:
    run = ExpertRun(folder)
    run.save_metrics([{"step": record["step"]} for record in run.metrics()])


RUN_DAMAGES = {
    "changed-expert": _flip_last_byte,
    "last-expert": _keep_last_checkpoint,
    "lost-expert": _remove_last_checkpoint,
    "broken-expert": lambda folder: (folder / "expert.json").write_text("{"),
    "new-expert": _write_newer_format,
    "other-net-expert": lambda folder: _replace_in_info(folder, net="convnet-d1:width=5"),
    "no-metrics-expert": _remove_accuracies,
    "bad-metrics-expert": lambda folder: (folder / "metrics.jsonl").write_text("{"),
}
