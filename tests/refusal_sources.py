"""Foreign files that `ddlabel import` refuses, for the rows of `tests/cli/refusals.toml`."""

from __future__ import annotations

import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from artefacts import save_dc, save_kip, save_rat_bptt
from foreign_sources import (
    UINT8,
    UNIT,
    Hostile,
    cifar10,
    cifar_row,
    idx_bytes,
    save_cifar,
    save_mnist,
    save_npz,
    save_png,
    save_pt,
)

LABELS = np.array([2, 0])
LOGITS = np.array([[-1.0, 2, 0], [0, 0, 3]])
PROBS = np.array([[0.25, 0.5, 0.25], [1, 0, 0]])


def save_sources(folder: Path) -> None:
    """Make all foreign files in a new folder."""
    folder.mkdir()
    save_folders(folder)
    save_zips(folder)
    save_tars(folder)
    save_parquet_files(folder)
    save_fkd_archive(folder)
    save_cifar_folders(folder)
    save_idx_files(folder)
    save_npz_files(folder)
    save_label_files(folder)
    save_pt_files(folder)
    save_weights(folder)


def save_weights(folder: Path) -> None:
    """Weights of `convnet-d1:width=4` for grey images of 8 px and three classes, and others."""
    shapes = {"0": (4, 1, 3, 3), "1": (4,), "4": (3, 64)}
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = torch.ones(shape)
        state[f"{name}.bias"] = torch.ones(shape[0])
    parameters = list(state.values())
    save_pt(folder / "weights.pth", state)
    save_pt(folder / "nan.pth", {**state, "0.weight": torch.full((4, 1, 3, 3), torch.nan)})
    save_pt(folder / "wider.pth", {**state, "4.weight": torch.ones(3, 100)})
    save_pt(folder / "optimizer.pth", {"optimizer": {}, "epoch": 3})
    save_pt(folder / "code.pth", {"state_dict": Hostile(folder / "marker")})
    save_pt(folder / "buffer.pt", [[parameters, parameters]])
    save_pt(folder / "mixed-buffer.pt", [[parameters, parameters], [parameters, parameters[2:]]])


def save_folders(folder: Path) -> None:
    grey = np.full((4, 4), 5)
    for name in ("cat", "dog"):
        save_png(folder / "pets" / name / "1.png", grey)
        save_png(folder / "sizes" / name / "1.png", np.zeros((4, 4 + len(name) % 2 * 2)))
        save_png(folder / "parts" / "train" / name / "1.png", grey)
    save_png(folder / "sizes" / "dog" / "2.png", np.zeros((6, 4)))
    save_png(folder / "colours" / "cat" / "1.png", grey)
    save_png(folder / "colours" / "cat" / "2.png", np.zeros((4, 4, 3)))
    save_png(folder / "gap" / "cat" / "1.png", grey)
    (folder / "gap" / "dog").mkdir()
    save_png(folder / "flat" / "1.png", grey)
    (folder / "none").mkdir()
    save_png(folder / "damaged" / "cat" / "1.png", grey)
    image = folder / "damaged" / "cat" / "1.png"
    image.write_bytes(image.read_bytes()[:-20])
    save_png(folder / "half-damaged" / "cat" / "1.png", grey)
    (folder / "half-damaged" / "cat" / "2.png").write_bytes(image.read_bytes())
    (folder / "text" / "cat").mkdir(parents=True)
    (folder / "text" / "cat" / "1.png").write_text("no image")
    # Both a CIFAR folder and a folder of classes.
    save_png(folder / "two-kinds" / "cat" / "1.png", grey)
    (folder / "two-kinds" / "batches.meta").write_bytes(b"")


def save_zips(folder: Path) -> None:
    (folder / "broken.zip").write_bytes(b"PK\5\6" + b"\0" * 10)
    with zipfile.ZipFile(folder / "outside.zip", "w") as archive:
        archive.writestr("../cat/1.png", b"")
    with zipfile.ZipFile(folder / "flat.zip", "w") as archive:
        archive.writestr("1.png", b"")


def save_tars(folder: Path) -> None:
    image = folder / "pets" / "cat" / "1.png"
    with tarfile.open(folder / "images.tar", "w") as archive:
        archive.add(image, "1.png")
    with tarfile.open(folder / "link.tar", "w") as archive:
        archive.add(image, "1.png")
        link = tarfile.TarInfo("1.cls")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)


def save_fkd_archive(folder: Path) -> None:
    """One view of two images, with labels of three classes."""
    (folder / "fkd" / "epoch_0").mkdir(parents=True)
    coords = torch.tensor([[0.0, 0, 1, 1]] * 2)
    batch = [coords, torch.zeros(2), None, None, None, torch.from_numpy(LOGITS)]
    save_pt(folder / "fkd" / "epoch_0" / "batch_0.tar", batch)


def save_parquet_files(folder: Path) -> None:
    (folder / "cut.parquet").write_bytes(b"PAR1")
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"]}), folder / "text.parquet")


def save_cifar_folders(folder: Path) -> None:
    members = cifar10()
    hostile = pickle.dumps({b"data": Hostile(folder / "marker")}, protocol=2)
    labels = {b"data": np.stack([cifar_row(1, 2, 3)]), b"labels": [9]}
    changes = {
        "cifar-code": {"data_batch_1": hostile},
        "cifar-damaged": {"data_batch_1": members["data_batch_1"][:40]},
        "cifar-labels": {"data_batch_1": pickle.dumps(labels, protocol=2)},
        "cifar": {},
    }
    for name, change in changes.items():
        place = folder / name
        place.mkdir()
        save_cifar(place, members | change, "tar.gz").rename(folder / f"{name}.tar.gz")
        place.rmdir()


def save_idx_files(folder: Path) -> None:
    save_mnist(folder / "mnist", packed=False)
    only_train = save_mnist(folder / "mnist-train", packed=False)
    for path in only_train.glob("t10k*"):
        path.unlink()
    images = idx_bytes(np.zeros((2, 2, 3)))
    contents = {
        "images-idx3-ubyte": images,
        "labels-idx1-ubyte": idx_bytes([1, 0]),
        "three-idx1-ubyte": idx_bytes([1, 0, 2]),
        "cut-idx3-ubyte": images[:-1],
        "floats-idx3-ubyte": bytes([0, 0, 13, 3]) + images[4:],
        "vast-idx3-ubyte": bytes([0, 0, 8, 3]) + b"\xff" * 12,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def save_npz_files(folder: Path) -> None:
    save_npz(folder / "bytes.npz", images=UINT8, labels=LABELS)
    save_npz(folder / "unit.npz", images=UNIT, labels=LABELS)
    save_npz(folder / "names.npz", pictures=UINT8, labels=LABELS)
    save_npz(folder / "objects.npz", images=np.array([{}]), labels=LABELS)
    save_npz(folder / "lengths.npz", images=UINT8, labels=np.array([0]))
    save_npz(folder / "empty.npz", images=UINT8[:0], labels=LABELS[:0])
    save_npz(folder / "text.npz", images=np.full((2, 1, 2, 2), "x"), labels=LABELS)
    save_npz(folder / "halves.npz", images=UINT8, labels=np.array([0.5, 1]))
    save_npz(folder / "negative.npz", images=UINT8, labels=np.array([-1, 1]))
    save_npz(folder / "many.npz", images=UINT8, labels=np.array([0, 999_999_999]))
    save_npz(folder / "probs.npz", images=UINT8, labels=PROBS)
    save_npz(folder / "logits.npz", images=UINT8, labels=LOGITS)
    (folder / "labels-three.csv").write_text("label\n0\n1\n2\n")
    save_npz(folder / "unclear.npz", images=UINT8, labels=PROBS * 3)
    save_npz(folder / "infinite.npz", images=np.full_like(UNIT, np.inf), labels=LABELS)
    save_npz(folder / "normalised.npz", images=UNIT * 9 - 4, labels=LABELS)
    (folder / "damaged.npz").write_bytes((folder / "bytes.npz").read_bytes()[:100])


def save_label_files(folder: Path) -> None:
    """Labels for a bundle of 20 images and 10 classes, named by digits."""
    probs = np.eye(10)[np.arange(20) % 10]
    np.savetxt(folder / "probs.csv", probs, delimiter=",")
    np.savetxt(folder / "unclear.csv", probs * 3, delimiter=",")
    np.savetxt(folder / "three-classes.csv", probs[:, :3], delimiter=",")
    np.save(folder / "views.npy", np.stack([probs, probs], 1))
    names = ",".join(["cat", *map(str, range(1, 10))])
    rows = "\n".join(",".join(map(str, row)) for row in probs)
    (folder / "animals.csv").write_text(f"{names}\n{rows}\n")


def save_pt_files(folder: Path) -> None:
    save_pt(folder / "labels.pt", torch.from_numpy(LABELS))
    values = {
        "unit": torch.from_numpy(UNIT),
        "list": [torch.zeros(3, 2, 2)] * 2,
        "complex": torch.ones(2, 3, 2, 2, dtype=torch.complex64),
        "expanded": torch.zeros(1).expand(1000, 3, 1000, 1000),
        "code": Hostile(folder / "marker"),
    }
    for name, value in values.items():
        save_pt(folder / f"{name}.pt", value)
    (folder / "damaged.pt").write_bytes(b"hello" * 100)
    save_dc(folder, UNIT)
    save_pt(folder / "dc-empty.pt", {"data": [], "accs_all_exps": {}})
    save_pt(folder / "gift.pt", {"dataset": "cifar10", "data": torch.from_numpy(UNIT)})
    save_pt(folder / "state.pth", torch.nn.Linear(2, 2).state_dict())
    save_pt(folder / "dictionary.pt", {"pictures": torch.zeros(2)})
    shifted = np.eye(2, dtype=np.float32) - 0.5
    save_kip(folder, UNIT, shifted).rename(folder / "kip-one-hot.npz")
    save_kip(folder, UNIT, shifted / 2).rename(folder / "kip-learned.npz")
    (folder / "kip-one-hot.npz").rename(folder / "kip.npz")
    save_rat_bptt(folder, UNIT, None)
