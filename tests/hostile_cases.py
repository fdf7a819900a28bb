"""All hostile files: a command line on each, and the exit code that it has to end with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import hostile_files as files
import hostile_sources as sources
from hostile_files import RELABEL, Words, imported, info, run_with, text, weights, written

USAGE = 2
INVALID = 3
UNSAFE = 4


class Case(NamedTuple):
    """A hostile file: the words of a command line on it, made in a folder, and its exit code."""

    make: Callable[[Path], Words]
    exit_code: int


SOURCES = {
    "npz that inflates": (sources.npz_that_inflates, UNSAFE),
    "npz that declares": (sources.npz_that_declares, INVALID),
    "npz with code": (sources.npz_with_code, UNSAFE),
    "zip member larger than declared": (sources.member_beyond_its_size, UNSAFE),
    "zip with a path outside": (sources.zip_that_climbs, UNSAFE),
    "zip whose members are one": (sources.zip_of_one_place, UNSAFE),
    "zip of images that inflate": (sources.zip_of_black_images, UNSAFE),
    "pickle with code": (sources.cifar_with_code, UNSAFE),
    "pickle with a memo index": (sources.memo_index, UNSAFE),
    "pickle with a length": (sources.length_of_bytes, UNSAFE),
    "pickle with a length of 8 bytes": (sources.length_of_a_long_string, UNSAFE),
    "pickle of lists that double": (sources.pickle_that_doubles, INVALID),
    "tar header that inflates": (sources.tar_header_that_inflates, UNSAFE),
    "tar of many members": (sources.tar_of_many_members, UNSAFE),
    "tar with a path outside": (sources.tar_that_climbs, UNSAFE),
    "tar with a link": (sources.tar_with_a_link, UNSAFE),
    "tar with a device": (sources.tar_with_a_device, UNSAFE),
    "tar with a member of holes": (sources.sparse_tar_member, UNSAFE),
    "idx that inflates": (sources.packed_idx, UNSAFE),
    "png of 8192 px": (sources.large_png, UNSAFE),
    "png cut off": (sources.truncated_png, INVALID),
    "png with a packed text": (sources.png_with_packed_text, INVALID),
    "links in a circle": (sources.loop_of_links, INVALID),
    "parquet that inflates": (sources.parquet_that_inflates, UNSAFE),
    "zeros without end": (lambda folder: Path("/dev/zero"), UNSAFE),
}
BUNDLES = {
    "bundle: length of the header": (written((1 << 62).to_bytes(8, "little") + b"{}"), INVALID),
    "bundle: header of 44 MiB": (written(files.many_tensors(800_000)), INVALID),
    "bundle: header of lists in lists": (written(files.container(b"[" * 10**6)), INVALID),
    "bundle: huge shapes": (files.forged(files.huge_shapes), INVALID),
    "bundle: path as a name": (files.forged(files.name_that_climbs), INVALID),
    "HDF5: array of 140 GiB": (files.remade(shape=(1 << 20, 140 << 10), dtype="u1"), INVALID),
    "HDF5: fill value": (files.remade(shape=(1 << 30,), dtype="u1", fillvalue=7), INVALID),
    "HDF5: gzip": (
        files.remade(shape=(1 << 28,), dtype="u1", compression="gzip", fillvalue=7),
        INVALID,
    ),
    "HDF5: external dataset": (files.with_hdf5(files.external), UNSAFE),
    "HDF5: external link": (
        files.relinked(lambda other: h5py.ExternalLink(other, "/soft_labels")),
        UNSAFE,
    ),
    "HDF5: external link in a path": (files.with_hdf5(files.through_a_linked_group), UNSAFE),
    "HDF5: virtual dataset": (files.with_hdf5(files.virtual), UNSAFE),
    "HDF5: link to itself": (
        files.relinked(lambda other: h5py.SoftLink("/soft_labels")),
        UNSAFE,
    ),
    "HDF5: circle of groups": (files.with_hdf5(files.circle_of_groups), INVALID),
    "HDF5: references": (files.remade(shape=(2, 2), dtype=h5py.ref_dtype), INVALID),
    "HDF5: unknown filter": (files.with_hdf5(files.unknown_filter), INVALID),
    "HDF5: header of 100 MB": (files.with_hdf5(files.long_header), INVALID),
}
WEIGHTS = {
    "weights with code": (files.torch_file(files.code), UNSAFE),
    "weights that inflate": (files.deflated, UNSAFE),
    "weights of stride 0": (files.overlapping_pt, UNSAFE),
    "weights: header of 90 MB": (written(files.many_tensors(1_500_000)), UNSAFE),
}
OTHERS = {
    "npz with a header of 2 GiB": (
        imported(sources.npz_with_a_long_header, "--format", "npz", "--hard-labels", "y.csv"),
        INVALID,
    ),
    "png that is thin, with --size": (imported(sources.thin_png, "--size", "64"), UNSAFE),
    "labels with code": (files.labels(files.torch_file(files.code)), UNSAFE),
    "labels that inflate": (files.labels(files.deflated), UNSAFE),
    "hdf5 of others with a link": (imported(files.kip_with_a_link, "--pixels", "unit"), UNSAFE),
    "run: checkpoint with a header of 90 MB": (
        run_with(files.checkpoint_of_many_tensors, *RELABEL),
        UNSAFE,
    ),
    "run: expert.json of 64 GB": (run_with(files.sparse("expert.json"), *RELABEL), UNSAFE),
    "run: metrics.jsonl of 64 GB": (run_with(files.sparse("metrics.jsonl"), *RELABEL), UNSAFE),
    "config: zeros without end": (text("edit few.safetensors o.h5 --config /dev/zero"), INVALID),
    "config of 64 GB": (text("edit few.safetensors o.h5 --config x.toml", size=64 << 30), INVALID),
    "config of lists in lists": (
        text("edit few.safetensors o.h5 --config x.toml", "x = " + "[" * 100_000),
        INVALID,
    ),
    "sweep of lists in lists": (text("sweep x.toml", "x = " + "[" * 100_000), INVALID),
    "sweep: zeros without end": (text("sweep /dev/zero"), INVALID),
    "class names: zeros without end": (
        text("edit few.safetensors o.h5 --class-names /dev/zero"),
        UNSAFE,
    ),
    "class names of 64 GB": (
        text("edit few.safetensors o.h5 --class-names x.txt", size=64 << 30),
        UNSAFE,
    ),
    "bundle: zeros without end": (text("edit /dev/zero o.h5 --class-names a,b"), INVALID),
    "table of 64 GB": (text("import-labels few.safetensors x.csv o.h5", size=64 << 30), UNSAFE),
    "results: zeros without end": (text("compare /dev/zero"), INVALID),
    "results of 1 GiB of zeros": (text("compare x.jsonl", size=1 << 30), INVALID),
    "info: zeros without end": (text("info /dev/zero"), UNSAFE),
    "weights: zeros without end": (
        text("import-expert /dev/zero e --size 8 --class-names a,b --normalise none"),
        UNSAFE,
    ),
}
CASES = {
    **{name: Case(imported(make), code) for name, (make, code) in SOURCES.items()},
    **{name: Case(info(make), code) for name, (make, code) in BUNDLES.items()},
    **{name: Case(weights(make), code) for name, (make, code) in WEIGHTS.items()},
    **{name: Case(make, code) for name, (make, code) in OTHERS.items()},
}
# In the full suite alone: what makes or reads hundreds of megabytes, …
HEAVY = {
    "bundle: header of 44 MiB",
    "HDF5: header of 100 MB",
    "weights that inflate",
    "weights: header of 90 MB",
    "zip member larger than declared",
    "zip of images that inflate",
    "npz that inflates",
    "npz with a header of 2 GiB",
    "parquet that inflates",
    "png with a packed text",
    "run: checkpoint with a header of 90 MB",
    "results of 1 GiB of zeros",
}
# … and what the tests of its importer or format refuse in every run too.
HEAVY |= {
    "npz with code",
    "zip with a path outside",
    "pickle with code",
    "tar with a path outside",
    "tar with a link",
    "tar with a device",
    "png cut off",
    "links in a circle",
    "bundle: length of the header",
    "bundle: header of lists in lists",
    "bundle: path as a name",
    "HDF5: external dataset",
    "HDF5: external link",
    "HDF5: virtual dataset",
    "HDF5: link to itself",
    "HDF5: circle of groups",
    "HDF5: references",
    "HDF5: fill value",
    "weights with code",
    "labels with code",
    "labels that inflate",
    "hdf5 of others with a link",
    "class names of 64 GB",
    "config of 64 GB",
    "results: zeros without end",
}
