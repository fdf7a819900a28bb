"""Standard input and output by their paths: `/dev/stdin`, `/dev/stdout`, a redirected file."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from format_samples import small
from samples import FIXTURES

from ddlabel.data import formats

IMPORT = [sys.executable, "-m", "ddlabel", "import", f"{FIXTURES}/digits.npz"]
INFO = [sys.executable, "-m", "ddlabel", "info", "--json"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "out.safetensors"
    subprocess.run([*IMPORT, str(path), "--quiet"], check=True, capture_output=True)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_path_of_standard_output_gets_the_bundle_and_nothing_else(tmp_path, whole, name):
    piped = subprocess.run([*IMPORT, name], check=True, capture_output=True)
    assert piped.stdout == whole
    with (tmp_path / "out").open("wb") as file:
        subprocess.run([*IMPORT, name], check=True, stdout=file, stderr=subprocess.PIPE)
    assert (tmp_path / "out").read_bytes() == whole


def test_an_output_to_which_standard_output_goes_too_is_not_mixed_with_text(tmp_path, whole):
    with (tmp_path / "out.safetensors").open("wb") as file:
        subprocess.run(
            [*IMPORT, "out.safetensors"],
            check=True,
            cwd=tmp_path,
            stdout=file,
            stderr=subprocess.PIPE,
        )
    assert (tmp_path / "out.safetensors").read_bytes() == whole
    assert [file.name for file in tmp_path.iterdir()] == ["out.safetensors"]


def test_the_suffix_of_a_redirected_output_chooses_its_format(tmp_path):
    program = (
        "from format_samples import small; from ddlabel.data import formats\n"
        "formats.write('out.h5', small())"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with (tmp_path / "out.h5").open("wb") as file:
        command = [sys.executable, "-c", program]
        subprocess.run(command, check=True, cwd=tmp_path, stdout=file, env=environment)
    assert (formats.read(str(tmp_path / "out.h5")).images == small().images).all()


@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/fd/0"])
def test_a_path_of_standard_input_is_read_as_a_pipe(tmp_path, whole, name):
    expected = subprocess.run([*INFO, "-"], check=True, capture_output=True, input=whole).stdout
    piped = subprocess.run([*INFO, name], check=True, capture_output=True, input=whole)
    assert piped.stdout.replace(name.encode(), b"-") == expected
    (tmp_path / "in").write_bytes(whole)
    with (tmp_path / "in").open("rb") as file:
        redirected = subprocess.run([*INFO, name], check=True, capture_output=True, stdin=file)
    assert redirected.stdout == piped.stdout
