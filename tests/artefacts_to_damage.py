"""Every kind of file that ddlabel writes and reads again, each with a reader of all its content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from format_samples import small
from mutations import Artefact
from record_samples import expert_info, student

from ddlabel.data import formats, saved_students
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.record import Record
from ddlabel.data.results import Results, read_records
from ddlabel.data.saved_students import SavedStudent

INFO = expert_info(zca=True, steps=8, options={"epochs": 2, "lr": 0.01})
BUNDLES = ("bundle.safetensors", "bundle.h5")
NAMES = (
    *BUNDLES,
    "step-00000008.safetensors",
    "expert.json",
    "metrics.jsonl",
    "whitening.safetensors",
    "resume.pt",
    "students",
    "results.jsonl",
)


def make(name: str, folder: Path) -> Artefact:
    """A file of a kind in a folder: `Artefact`."""
    if name in BUNDLES:
        return bundle(folder / name)
    if name == "resume.pt":
        return resume_state(folder / name)
    if name == "students":
        return saved_student(folder / name)
    if name == "results.jsonl":
        return results(folder / name)
    return file_of_run(folder / "run", name)


def plain(value: Any) -> Any:
    """A value with arrays and tensors as types, shapes and bytes."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return value


def equal_to(expected: Any) -> Callable[[Any], str]:
    """A judge for files that are refused or hold the same."""

    def judge(found: Any) -> str:
        assert found == expected, "the content is another, and nothing was said"
        return "harmless"

    return judge


def artefact(path: Path, donor: bytes, read: Callable[[], Any]) -> Artefact:
    return Artefact(path, path.read_bytes(), donor, read, equal_to(read()))


def bundle(path: Path) -> Artefact:
    def content_of(found: Bundle) -> Any:
        return found.header(), plain(dict(found.arrays))

    def read() -> Any:
        found, header = formats.load(str(path))
        assert header == found.header()
        return content_of(found)

    other = small(classes=("ant", "bee"), hard_labels=np.array([1, 1]))
    donor = path.with_stem("donor")
    formats.write(str(donor), other)
    formats.write(str(path), small())
    made = artefact(path, donor.read_bytes(), read)
    assert read() == content_of(small())
    return made


def make_run(folder: Path, seed: int) -> ExpertRun:
    """A run as training leaves it, with numbers of a seed."""
    generator = np.random.default_rng(seed)
    run = ExpertRun.create(folder, replace(INFO, seed=seed))
    metrics = []
    for step in (4, 8):
        weights = {
            "weight": generator.normal(size=(4, 1, 3, 3)).astype(np.float32),
            "bias": generator.normal(size=4).astype(np.float32),
            "num_batches_tracked": np.array(step),
        }
        sha256 = run.save_weights(step, weights)
        metrics.append({"step": step, "sha256": sha256, "train_loss": generator.random()})
    run.save_metrics(metrics)
    run.save_whitening({"mean": np.zeros((1, 1, 2, 2)), "matrix": generator.normal(size=(4, 4))})
    return run


def file_of_run(folder: Path, name: str) -> Artefact:
    donor = make_run(folder.with_name("donor"), seed=1).folder / name
    make_run(folder, seed=0)

    def read() -> Any:
        run = ExpertRun(folder)
        weights = {step: plain(run.weights(step)) for step in run.epochs}
        return run.about, run.metrics(), weights, plain(run.whitening())

    return artefact(folder / name, donor.read_bytes(), read)


def resume_state(path: Path) -> Artefact:
    import torch

    from ddlabel.training.resume import loaded_state, save_state

    def save(path: Path, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        body = {"weight": torch.randn(4, 3, generator=generator), "steps": torch.tensor(4)}
        optimizer = {"state": {0: {"momentum_buffer": torch.randn(4, 3, generator=generator)}}}
        save_state(path, {"body": body, "optimizer": optimizer, "step": seed})

    def read() -> Any:
        with loaded_state(path) as state:
            return plain(state)

    donor = path.with_stem("donor")
    save(donor, 1)
    save(path, 0)
    return artefact(path, donor.read_bytes(), read)


def saved_student(folder: Path) -> Artefact:
    def save(folder: Path, seed: int) -> Path:
        about = SavedStudent(
            key=student(seed).key,
            net="convnet-d1:width=4",
            classes=("cat", "dog"),
            channels=1,
            size=8,
            mean=(0.5,),
            std=(0.25,),
            bundle="few",
            inputs={"bundle": "b" * 64},
            options={"seed": seed},
            accuracy=0.5,
        )
        weights = np.random.default_rng(seed).normal(size=(4, 9)).astype(np.float32)
        saved_students.save(folder, about, {"weight": weights})
        return saved_students.student_path(folder, about.key)

    def read() -> Any:
        ((about, found),) = saved_students.read_all(folder)
        return asdict(about), plain(saved_students.weights_of(found))

    donor = save(folder.with_name("donor"), 1)
    return artefact(save(folder, 0), donor.read_bytes(), read)


def results(path: Path) -> Artefact:
    """A results file: broken lines are named and skipped, and whole lines are read as they are."""
    for seed in range(3):
        Results(path.with_stem("donor")).append(student(seed + 10))
        Results(path).append(student(seed))
    content = path.read_bytes()
    expected = [student(seed) for seed in range(3)]
    donor = path.with_stem("donor").read_bytes()
    known = expected + [student(seed + 10) for seed in range(3)]

    def read() -> tuple[bytes, list[Record], list[str]]:
        damaged = path.read_bytes()
        notes: list[str] = []
        records = read_records(path, notes.append)
        by_key = {record.key: record for record in records}
        assert path.read_bytes() == damaged, "reading has changed the file"
        # Reading for the next append repairs the end of the file, and loses no record.
        assert Results(path).read("student") == by_key
        assert Results(path).read("student") == by_key
        return damaged, records, notes

    def judge(found: tuple[bytes, list[Record], list[str]]) -> str:
        damaged, records, notes = found
        assert all(record in known for record in records), "a record is another, and nothing said"
        if notes:
            return "noted"
        if all(record in records for record in expected):
            return "harmless"
        # Nothing says how many lines a file had: whoever asks for the records trains these again.
        lines = {line.rstrip(b"\n") for line in (content + donor).splitlines(keepends=True)}
        assert {line.rstrip(b"\n") for line in damaged.split(b"\n")} <= lines | {b""}
        return "whole lines gone"

    return Artefact(path, content, donor, read, judge)
