"""Messages of one line, whatever the names are, and streams that are closed, full or ASCII."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from foreign_sources import UINT8, cifar10, load, save_cifar, save_npz, save_png, zip_folder
from format_samples import small

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, ResourceError, StorageError
from ddlabel.data import formats, importers
from ddlabel.data.image_folder import ImageFolder
from ddlabel.data.provenance import Entry
from ddlabel.data.schema import LabelMeta

FORGED = "cat\nerror: the disk is full"


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\x1b[2J", "a\x00b", "a\u2028b", "a\x85b"])
def test_class_names_with_control_characters_are_refused(tmp_path, animals, name):
    with pytest.raises(InvalidInputError):
        load(save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([2, 0])), class_names=f"{name},x,y")
    label = name.encode("utf-8")
    with pytest.raises(InvalidInputError):
        load(save_cifar(tmp_path, cifar10(names=(label, b"x", b"y")), "folder"))


@pytest.mark.parametrize("name", ["chat écaille", "猫", "می‌خواهم", "a b", "cat's"])
def test_class_names_of_any_language_are_accepted(tmp_path, name):
    """The third has a zero-width non-joiner, which its language needs."""
    path = save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([2, 0]))
    assert load(path, class_names=f"{name},x,y").classes[0] == name


def test_class_folders_with_newlines_are_refused(animals):
    (animals / "ant").rename(animals / FORGED)
    with pytest.raises(InvalidInputError):
        load(animals)
    with pytest.raises(InvalidInputError):
        ImageFolder.open(animals, size=4)


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_image_is_named_with_its_folder_or_archive(animals, packed):
    (animals / "bee" / "2.png").write_bytes(b"text")
    path = zip_folder(animals) if packed else animals
    with pytest.raises(InvalidInputError) as caught:
        load(path, format="folder")
    assert str(caught.value).startswith(str(path))
    assert "bee/2.png" in str(caught.value)
    assert "BytesIO" not in str(caught.value)


def test_memory_that_an_import_lacks_has_nothing_to_do_with_batches(tmp_path, monkeypatch):
    def fail(*args, **keywords):
        raise MemoryError

    monkeypatch.setattr(np.lib.format, "read_array", fail)
    path = save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([0, 1]))
    with pytest.raises(ResourceError, match=r"x\.npz") as caught:
        load(path)
    assert "batch" not in str(caught.value)


@pytest.fixture
def nobody():
    """A user without rights, also where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def locked(tmp_path, animals) -> dict[str, Path]:
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    tmp_path.chmod(0o755)
    npz = save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([0, 1]))
    npz.chmod(0)
    save_png(tmp_path / "one" / "cat" / "1.png", np.zeros((2, 2)))
    (tmp_path / "one" / "cat" / "1.png").chmod(0)
    animals.chmod(0)
    archive = tmp_path / "x.zip"
    archive.write_bytes(b"")
    archive.chmod(0)
    return {"npz": npz, "image": tmp_path / "one", "folder": animals, "zip": archive}


@pytest.mark.parametrize("source", ["npz", "image", "folder", "zip"])
def test_what_may_not_be_read_is_no_invalid_input(locked, nobody, source):
    with pytest.raises(StorageError):
        importers.load([locked[source]], ImportOptions())


@pytest.fixture
def forged(tmp_path) -> Path:
    entry = Entry(command="edit", version="1", options={"source": FORGED})
    bundle = small(
        classes=(FORGED, "dog"),
        soft=LabelMeta(space="probs", source=FORGED),
        history=(entry,),
    )
    formats.write(str(tmp_path / "forged.safetensors"), bundle)
    return tmp_path / "forged.safetensors"


def test_info_shows_newlines_in_names_escaped(cli, forged):
    plain = forged.with_name("plain.safetensors")
    entry = Entry(command="edit", version="1", options={"source": "cat"})
    formats.write(str(plain), small(history=(entry,)))
    expected = cli("info", plain).out.decode().splitlines()
    shown = cli("info", forged).out.decode().splitlines()
    assert len(shown) == len(expected)
    assert not any(line.startswith("error:") for line in shown)
    assert sum("cat\\nerror: the disk is full" in line for line in shown) == 3


@pytest.mark.parametrize("command", ["info", "check", "import"])
def test_an_error_is_one_line_whatever_the_file_is_called(cli, command):
    words = [command, "no\nerror: x.h5"] + (["out.h5"] if command == "import" else [])
    shown = cli(*words, code=3).err.decode()
    assert shown.count("\n") == 1
    assert json.loads(cli(*words, "--json", code=3).err)["exit_code"] == 3


def test_the_path_of_an_output_is_one_line(cli, forged):
    shown = cli("edit", forged, "a\nb.h5", "--op", "top-k:k=1").out.decode()
    assert shown == "a\\nb.h5\n"
    assert Path("a\nb.h5").exists()


def test_a_link_that_leads_back_to_itself_is_one_line(cli, forged):
    Path("loop.h5").symlink_to("loop.h5")
    for words, code in (
        (("info", "loop.h5"), 3),
        (("import", "loop.h5", "out.h5"), 3),
        (("edit", forged, "loop.h5", "--op", "top-k:k=1"), 7),
    ):
        assert cli(*words, code=code).err.decode().splitlines()[-1].startswith("error: ")


def shell(folder: Path, line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which `$D` is the command."""
    command = f"{sys.executable} -m ddlabel"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line.replace('$D', command)}"],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=60,
        env=os.environ | environment,
    )


STREAMS = {
    "$D --help | true": 0,
    "$D info forged.safetensors | true": 0,
    "$D info forged.safetensors >&-": 7,
    "$D info forged.safetensors >/dev/full": 7,
    "$D --help >&-": 7,
    "$D --help >/dev/full": 7,
    "$D info nothing.h5 2>&-": 3,
    "$D info nothing.h5 2>/dev/full": 3,
    "$D info - <&-": 3,
    "$D info - <&- >&- 2>&-": 3,
    "$D check - </dev/zero": 3,
    "$D check /dev/zero": 3,
    "cat forged.safetensors /dev/zero | timeout 20 $D check -; exit ${PIPESTATUS[1]}": 3,
    "cat forged.safetensors | $D check -": 0,
}


@pytest.mark.parametrize("line", STREAMS)
def test_streams_that_are_closed_full_or_endless_are_no_tracebacks(forged, line):
    done = shell(forged.parent, line)
    assert done.returncode == STREAMS[line], done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert done.stderr.count(b"\n") <= 1


@pytest.mark.parametrize("line", ["$D info forged.safetensors", "$D guide labels", "$D --help"])
def test_terminals_of_ascii_get_every_line(forged, line):
    expected = shell(forged.parent, line, PYTHONIOENCODING="utf-8").stdout
    assert expected.count(b"\n") > 1
    for variables in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}):
        done = shell(forged.parent, line, **variables)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.count(b"\n") == expected.count(b"\n")
