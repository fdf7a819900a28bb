"""Small sources in foreign formats: class folders, CIFAR, IDX, .npz and .pt."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from PIL import Image

from ddlabel.core.config import ImportOptions
from ddlabel.data import importers
from ddlabel.data.bundle import Bundle


def load(*paths: Path, **options) -> Bundle:
    """Import files and check every number, as `ddlabel import` does."""
    bundle = importers.load(list(paths), ImportOptions(**options)).bundle
    bundle.check_values()
    return bundle


def save_png(path: Path, pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def png_bytes(value: int, size: int = 2) -> bytes:
    """A grey image of one value."""
    file = io.BytesIO()
    Image.new("L", (size, size), value).save(file, "PNG")
    return file.getvalue()


def png_that_declares(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(999)))
        + chunk(b"IEND", b"")
    )


def zip_with_sizes(path: Path, name: str, content: bytes, size: int, packed: bytes) -> Path:
    """A zip archive of a deflated member that declares `size` bytes and the sum of `content`."""
    encoded = name.encode()
    fields = (20, 0, 8, 0, 33, zlib.crc32(content), len(packed), size, len(encoded), 0)
    local = b"PK\3\4" + struct.pack("<5H3I2H", *fields) + encoded + packed
    entry = b"PK\1\2\x14\0" + struct.pack("<5H3I2H", *fields) + bytes(14) + encoded
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(entry), len(local), 0)
    path.write_bytes(local + entry + end)
    return path


def deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def zip_folder(folder: Path, name: str = "packed.zip") -> Path:
    path = folder.parent / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*"):
            if file.is_file():
                archive.write(file, file.relative_to(folder.parent))
    return path


class Hostile:
    """An object that makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


def cifar_row(red: int, green: int, blue: int) -> np.ndarray:
    """One image as CIFAR stores it, plane by plane, with a mark of 255 in row 0, column 1."""
    data = np.repeat(np.array([red, green, blue], np.uint8), 1024)
    data[1] = 255
    return data


def cifar_batch(labels, *, key=b"labels") -> bytes:
    data = np.stack([cifar_row(label, 100 + label, 200 + label) for label in labels])
    return pickle.dumps({b"data": data, key: list(labels), b"batch_label": b"x"}, protocol=2)


def cifar10(names=(b"zebra", b"ant", b"bee")) -> dict[str, bytes]:
    """The order of classes in the files is not that of their characters."""
    return {
        "batches.meta": pickle.dumps({b"label_names": list(names)}, protocol=2),
        "data_batch_1": cifar_batch([0, 1]),
        "data_batch_2": cifar_batch([2]),
        "data_batch_5": cifar_batch([1]),
        "test_batch": cifar_batch([2, 0]),
        "readme.html": b"<p>",
    }


def cifar100() -> dict[str, bytes]:
    test = {
        b"data": np.stack([cifar_row(1, 1, 1), cifar_row(0, 0, 0)]),
        b"fine_labels": [1, 0],
        b"coarse_labels": [0, 1],
    }
    names = {b"fine_label_names": [b"b", b"a"], b"coarse_label_names": [b"y", b"x"]}
    return {
        "meta": pickle.dumps(names, protocol=2),
        "train": cifar_batch([0, 1], key=b"fine_labels"),
        "test": pickle.dumps(test, protocol=2),
    }


def save_cifar(tmp_path: Path, members: dict[str, bytes], how: str) -> Path:
    """The members as a folder or an archive, in another order than theirs."""
    if how == "folder":
        path = tmp_path / "cifar"
        path.mkdir()
        for name, content in members.items():
            (path / name).write_bytes(content)
        return path
    path = tmp_path / f"cifar.{how}"
    in_folder = {f"cifar-py/{name}": content for name, content in reversed(members.items())}
    return save_tar(path, in_folder, mode="w:gz" if how == "tar.gz" else "w")


def save_tar(path: Path, members: dict[str, bytes], *infos: tarfile.TarInfo, mode="w") -> Path:
    """A tar of members, then of the bare `infos`, which may be links."""
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in infos:
            archive.addfile(info)
    return path


def idx_bytes(array) -> bytes:
    array = np.asarray(array, np.uint8)
    return (
        bytes([0, 0, 8, array.ndim])
        + b"".join(n.to_bytes(4, "big") for n in array.shape)
        + array.tobytes()
    )


PIXELS = np.arange(12).reshape(2, 2, 3)


def save_mnist(folder: Path, packed: bool) -> Path:
    folder.mkdir(exist_ok=True)
    for prefix, shift in (("train", 0), ("t10k", 100)):
        for name, array in (
            (f"{prefix}-images-idx3-ubyte", PIXELS + shift),
            (f"{prefix}-labels-idx1-ubyte", [2, 0]),
        ):
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array)))
            else:
                (folder / name).write_bytes(idx_bytes(array))
    return folder


def save_npz(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def save_pt(path: Path, value, **how) -> Path:
    torch.save(value, path, **how)
    return path


UINT8 = np.arange(2 * 3 * 2 * 2, dtype=np.uint8).reshape(2, 3, 2, 2)


UNIT = UINT8.astype(np.float32) / 32  # exact in float16 too


def save_pair(tmp_path: Path, images=UNIT, labels=(2, 0), **how) -> list[Path]:
    labels = labels if isinstance(labels, torch.Tensor) else torch.tensor(labels)
    return [
        save_pt(tmp_path / "images.pt", torch.as_tensor(images), **how),
        save_pt(tmp_path / "labels.pt", labels, **how),
    ]


def correlated(count=200, shape=(3, 3, 3), seed=0) -> np.ndarray:
    """Images [N, C, H, W] in unit space whose pixels depend on one another."""
    generator = np.random.default_rng(seed)
    size = int(np.prod(shape))
    mix = generator.normal(size=(size, size)) / size**0.5
    return (
        (0.5 + 0.3 * generator.normal(size=(count, size)) @ mix)
        .reshape(count, *shape)
        .astype(np.float32)
    )


def whiten(images: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(x − μ) (Σ + 0.1·1)^(−1/2), by scipy's matrix square root and numpy's covariance."""
    flat = real.reshape(len(real), -1).astype(np.float64)
    covariance = np.cov(flat.T)
    matrix = np.linalg.inv(scipy.linalg.sqrtm(covariance + 0.1 * np.eye(len(covariance))))
    return ((images.reshape(len(images), -1) - flat.mean(0)) @ matrix).reshape(images.shape)
