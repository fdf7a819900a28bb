"""Sources for `ddlabel import` that run code, reach elsewhere, or ask for more than they are worth.

Each function makes one in an empty folder and returns its path.
"""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from foreign_sources import (
    Hostile,
    cifar10,
    deflate,
    png_bytes,
    png_that_declares,
    save_cifar,
    save_mnist,
    save_png,
    save_tar,
    zip_with_sizes,
)

GIB = 1 << 30


def header_of(shape) -> bytes:
    file = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)
    return file.getvalue()


def packed_zeros(start: bytes, num_mebibytes: int) -> bytes:
    """A deflated start and zeros: one mebibyte, flushed, again and again."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    mebibyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return packed + num_mebibytes * mebibyte + packer.flush()


def npz_that_inflates(folder: Path) -> Path:
    """2 GiB of zeros in 2 MB."""
    header = header_of((2048, 1, 1024, 1024))
    size = len(header) + 2 * GIB
    packed = packed_zeros(header, 2048)
    return zip_with_sizes(folder / "x.npz", "images.npy", b"", size, packed)


def npz_that_declares(folder: Path) -> Path:
    """A header of 10 GB and a member of 200 bytes."""
    content = header_of((10_000, 1, 1000, 1000))
    return zip_with_sizes(folder / "x.npz", "x.npy", content, len(content), deflate(content))


def npz_with_a_long_header(folder: Path) -> Path:
    """A header of 2 GiB, which is text that Python would have to read."""
    start = b"\x93NUMPY\2\0" + struct.pack("<I", 2 * GIB)
    (folder / "y.csv").write_text("0\n")
    packed = packed_zeros(start, 200)
    return zip_with_sizes(folder / "x.npz", "x.npy", start, 200 << 20, packed)


def npz_with_code(folder: Path) -> Path:
    np.savez(folder / "x.npz", x=np.array([Hostile(folder / "marker")], object), y=np.zeros(1))
    return folder / "x.npz"


def member_beyond_its_size(folder: Path) -> Path:
    """A good image with 300 MB of zeros behind it, which the directory does not declare."""
    image = png_bytes(0, size=4)
    return zip_with_sizes(
        folder / "x.zip", "cat/1.png", image, len(image), packed_zeros(image, 300)
    )


def zip_that_climbs(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        archive.writestr("../../marker.png", png_bytes(0))
        archive.writestr("cat/1.png", png_bytes(0))
    return folder / "x.zip"


def zip_of_one_place(folder: Path) -> Path:
    """A directory of 20,000 members that are the same bytes of the archive."""
    name = b"cat/1.png"
    content = png_bytes(0)
    fields = (20, 0, 0, 0, 33, zlib.crc32(content), len(content), len(content), len(name), 0)
    local = b"PK\3\4" + struct.pack("<5H3I2H", *fields) + name + content
    entry = b"PK\1\2\x14\0" + struct.pack("<5H3I2H", *fields) + bytes(14) + name
    number = 20_000
    sizes = (len(entry) * number, len(local))
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, number, number, *sizes, 0)
    (folder / "x.zip").write_bytes(local + entry * number + end)
    return folder / "x.zip"


def zip_of_black_images(folder: Path) -> Path:
    """40 images of 6,000 × 6,000 black pixels, 1.4 GB, in 1.5 MB."""
    image = png_bytes(0, size=6000)
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        for number in range(40):
            archive.writestr(f"cat/{number}.png", image)
    return folder / "x.zip"


def cifar_with(folder: Path, content: bytes) -> Path:
    return save_cifar(folder, cifar10() | {"data_batch_1": content}, "folder")


def cifar_with_code(folder: Path) -> Path:
    return cifar_with(folder, pickle.dumps({b"data": Hostile(folder / "marker")}, protocol=2))


def memo_index(folder: Path) -> Path:
    """Python's reader makes a table of 4 GB for it."""
    pickled = b"\x80\x02}r" + struct.pack("<I", 1 << 28) + b"."
    return cifar_with(folder, pickled + bytes(200))


def length_of_bytes(folder: Path) -> Path:
    return cifar_with(folder, b"\x80\x03B" + struct.pack("<I", 0xFFFF_FFF0) + bytes(200))


def length_of_a_long_string(folder: Path) -> Path:
    return cifar_with(folder, b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + bytes(200))


def pickle_that_doubles(folder: Path) -> Path:
    """300 bytes of lists in one another that stand for 2⁴⁰ numbers."""
    labels = [0]
    for _ in range(40):
        labels = [labels, labels]
    data = np.zeros((1, 3072), np.uint8)
    return cifar_with(folder, pickle.dumps({b"data": data, b"labels": labels}, protocol=2))


def tar_header_that_inflates(folder: Path) -> Path:
    """A header of the archive that is 1 GiB long; tarfile reads it whole."""
    info = tarfile.TarInfo("x")
    info.type = tarfile.XHDTYPE
    info.size = GIB
    path = folder / "x.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(info.tobuf())
        for _ in range(16):
            file.write(bytes(1 << 20))
    return path


def tar_of_many_members(folder: Path) -> Path:
    path = folder / "x.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(tarfile.TarInfo("meta").tobuf() * 20_000)
    return path


def tar_of(folder: Path, *infos: tarfile.TarInfo) -> Path:
    """A WebDataset with members more."""
    return save_tar(folder / "x.tar", {"a.png": png_bytes(0), "a.cls": b"0"}, *infos)


def tar_that_climbs(folder: Path) -> Path:
    return tar_of(folder, tarfile.TarInfo("../../marker"))


def tar_with_a_link(folder: Path) -> Path:
    info = tarfile.TarInfo("b.png")
    info.type = tarfile.SYMTYPE
    info.linkname = "/etc/passwd"
    return tar_of(folder, info)


def tar_with_a_device(folder: Path) -> Path:
    info = tarfile.TarInfo("b.png")
    info.type = tarfile.CHRTYPE
    return tar_of(folder, info)


def sparse_tar_member(folder: Path) -> Path:
    """A member of 1 TB with holes, of which the archive holds nothing."""
    path = tar_of(folder)
    header = bytearray(tarfile.TarInfo("b.png").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = b"00000000000\0" * 2
    header[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    # A header and a block for each of the two members before it.
    path.write_bytes(path.read_bytes()[: 4 * 512] + header + bytes(1024))
    return path


def packed_idx(folder: Path) -> Path:
    save_mnist(folder, packed=True)
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2048, 1024, 1024)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header))
    return folder


def png(folder: Path, content: bytes) -> Path:
    (folder / "cat").mkdir()
    (folder / "cat" / "1.png").write_bytes(content)
    return folder


def large_png(folder: Path) -> Path:
    return png(folder, png_that_declares(8192, 8192))


def truncated_png(folder: Path) -> Path:
    content = png_bytes(0, size=64)
    return png(folder, content[: len(content) // 2])


def png_with_packed_text(folder: Path) -> Path:
    """A comment that inflates to 1 GiB."""
    content = png_bytes(0)
    text = b"Comment\0\0" + b"\x78\x9c" + packed_zeros(b"", 1024)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    return png(folder, content[:33] + chunk + content[33:])


def thin_png(folder: Path) -> Path:
    """One pixel wide: resized, its long side would have 64 million pixels."""
    save_png(folder / "cat" / "1.png", np.zeros((1_000_000, 1)))
    return folder


def loop_of_links(folder: Path) -> Path:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    return folder / "a"


def parquet_that_inflates(folder: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    column = pyarrow.array([bytes(1 << 20)] * 600)
    table = pyarrow.table({"image": column, "label": [0] * 600})
    path = folder / "x.parquet"
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=False)
    return path
