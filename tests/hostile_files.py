"""Command lines on files of strangers, each with the exit code that it has to end with."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch
from artefacts_to_damage import make_run
from foreign_sources import Hostile
from format_samples import container, forge, small, split
from samples import make_bundle

from ddlabel.data import formats
from ddlabel.data.expert_run import ExpertRun

INVALID = 3
UNSAFE = 4
Words = list[str | Path]


def imported(make: Callable[[Path], Path], *options: str) -> Callable[[Path], Words]:
    return lambda folder: ["import", make(folder), "out.safetensors", *options]


def info(make: Callable[[Path], Path]) -> Callable[[Path], Words]:
    return lambda folder: ["info", make(folder)]


def written(content: bytes, name: str = "x.safetensors") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def many_tensors(number: int) -> bytes:
    """A safetensors file of empty tensors, of which the library makes 800 bytes each."""
    entry = '":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    return container(("{" + ",".join(f'"{n}{entry}' for n in range(number)) + "}").encode())


def forged(change: Callable[[dict], object]) -> Callable[[Path], Path]:
    """A bundle whose header has another content under its right digest."""

    def make(folder: Path) -> Path:
        path = folder / "x.safetensors"
        formats.write(str(path), small())
        forge(path, *split(path.read_bytes()), change)
        return path

    return make


def huge_shapes(body: dict) -> None:
    for name in ("images", "hard_labels", "source_index", "soft_labels", "dense_labels"):
        body["arrays"][name]["shape"][0] = 1 << 40


def name_that_climbs(body: dict) -> None:
    body["arrays"]["../../marker"] = body["arrays"].pop("source_index")


def with_hdf5(change: Callable[[h5py.File, str], object]) -> Callable[[Path], Path]:
    """An HDF5 bundle after a change, which gets the name of another file with the same arrays."""

    def make(folder: Path) -> Path:
        formats.write(str(folder / "x.h5"), small())
        formats.write(str(folder / "other.h5"), small())
        with h5py.File(folder / "x.h5", "r+", libver="v110") as file:
            change(file, str(folder / "other.h5"))
        return folder / "x.h5"

    return make


def relinked(link: Callable[[str], object]) -> Callable[[Path], Path]:
    def change(file: h5py.File, other: str) -> None:
        del file["soft_labels"]
        file["soft_labels"] = link(other)

    return with_hdf5(change)


def remade(**how: object) -> Callable[[Path], Path]:
    def change(file: h5py.File, other: str) -> None:
        del file["soft_labels"]
        file.create_dataset("soft_labels", **how)

    return with_hdf5(change)


def through_a_linked_group(file: h5py.File, other: str) -> None:
    """The external link is the middle of the path to an array."""
    del file["soft_labels"]
    file["elsewhere"] = h5py.ExternalLink(other, "/")
    file["soft_labels"] = h5py.SoftLink("/elsewhere/soft_labels")


def virtual(file: h5py.File, other: str) -> None:
    layout = h5py.VirtualLayout((2, 2), "<f4")
    layout[:] = h5py.VirtualSource(other, "soft_labels", (2, 2))
    del file["soft_labels"]
    file.create_virtual_dataset("soft_labels", layout)


def external(file: h5py.File, other: str) -> None:
    del file["soft_labels"]
    file.create_dataset("soft_labels", (2, 2), "<f4", external=[("/etc/passwd", 0, 16)])


def circle_of_groups(file: h5py.File, other: str) -> None:
    del file["soft_labels"]
    group = file.create_group("soft_labels")
    group["again"] = group


def unknown_filter(file: h5py.File, other: str) -> None:
    del file["soft_labels"]
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((2, 2))
    # Optional, so that a file can be written without the plugin.
    properties.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((2, 2))
    h5py.h5d.create(file.id, b"soft_labels", h5py.h5t.IEEE_F32LE, space, properties)


def long_header(file: h5py.File, other: str) -> None:
    del file.attrs["ddlabel"]
    file.attrs.create("ddlabel", np.bytes_(b"x" * 100_000_000))


def kip_with_a_link(folder: Path) -> Path:
    """An HDF5 file of other programs whose images are those of another file."""
    with h5py.File(folder / "other.h5", "w") as file:
        file["data"] = np.zeros((2, 3, 4, 4), np.float32)
    with h5py.File(folder / "x.h5", "w") as file:
        file["data"] = h5py.ExternalLink(str(folder / "other.h5"), "/data")
        file["label"] = np.eye(2, dtype=np.float32)
    return folder / "x.h5"


def labels(make: Callable[[Path], Path]) -> Callable[[Path], Words]:
    def words(folder: Path) -> Words:
        formats.write(str(folder / "few.safetensors"), small())
        return ["import-labels", "few.safetensors", make(folder), "out.safetensors"]

    return words


def weights(make: Callable[[Path], Path]) -> Callable[[Path], Words]:
    options = ["--size", "8", "--class-names", "a,b", "--normalise", "none"]
    return lambda folder: ["import-expert", make(folder), "expert", *options]


def torch_file(value: object, name: str = "x.pt") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        torch.save(value(folder) if callable(value) else value, folder / name)
        return folder / name

    return make


def deflated(folder: Path) -> Path:
    """6 GB of zeros in 6 MB, in a file of torch.save."""
    path = folder / "x.pt"
    torch.save({"weight": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            if name.endswith("data/0"):
                with archive.open(name, "w", force_zip64=True) as member:
                    for _ in range(1 << 10):
                        member.write(bytes(1 << 20))
            else:
                archive.writestr(name, content)
    return path


def overlapping_pt(folder: Path) -> Path:
    """1,570 bytes that are a tensor of 10¹² numbers, by stride 0."""
    return torch_file({"weight": torch.zeros(1).expand(10**6, 10**6)})(folder)


def code(folder: Path) -> dict[str, object]:
    return {"weight": Hostile(folder / "marker")}


def run_with(change: Callable[[ExpertRun], object], *words: str) -> Callable[[Path], Words]:
    """A command line that reads an expert run after a change."""

    def make(folder: Path) -> Words:
        change(make_run(folder / "run", seed=0))
        formats.write(
            str(folder / "few.safetensors"), replace(make_bundle(classes=2), classes=("cat", "dog"))
        )
        return list(words)

    return make


RELABEL = ("relabel", "few.safetensors", "out.safetensors", "--expert", "run", "--epoch", "last")


def checkpoint_of_many_tensors(run: ExpertRun) -> None:
    """A header of 90 MB, whose sha256 is in the records, as an attacker would write it."""
    content = many_tensors(1_500_000)
    (run.folder / "step-00000008.safetensors").write_bytes(content)
    *records, last = run.metrics()
    last["sha256"] = hashlib.sha256(content).hexdigest()
    run.save_metrics([*records, last])


def sparse(name: str) -> Callable[[ExpertRun], None]:
    """A file of 64 GB without a block on the disk in place of one of the run's."""

    def change(run: ExpertRun) -> None:
        with (run.folder / name).open("wb") as file:
            os.truncate(file.fileno(), 64 << 30)

    return change


def text(words: str, content: str = "", size: int = 0) -> Callable[[Path], Words]:
    """A command line with a text file x.toml or x.txt of this content or size."""

    def make(folder: Path) -> Words:
        formats.write(str(folder / "few.safetensors"), small())
        for name in ("x.toml", "x.txt", "x.csv", "x.jsonl"):
            (folder / name).write_text(content)
            if size:
                os.truncate(folder / name, size)
        return list(words.split())

    return make
