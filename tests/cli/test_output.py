"""What commands leave on disk and on standard output, and how errors look."""

from __future__ import annotations

import json
import subprocess
import sys

from samples import make_bundle

from ddlabel.data import formats


def test_force_replaces_an_output_that_exists(cli, digits):
    cli("select", "real.safetensors", "few.safetensors", "--ipc", 1, "--force")
    assert len(formats.read("few.safetensors")) == 10


def test_error_is_an_object_with_json(cli):
    printed = cli("info", "missing.h5", "--json", code=3)
    error = json.loads(printed.err)
    assert error.keys() == {"error", "exit_code"}
    assert error["exit_code"] == 3
    assert "missing.h5" in error["error"]
    assert printed.out == b""


def test_name_of_a_file_cannot_steer_the_terminal(cli):
    assert b"\x1b" not in cli("info", "\x1b[31mred.safetensors", code=3).err


def test_closed_pipe_ends_quietly(tmp_path):
    formats.write(str(tmp_path / "big.safetensors"), make_bundle(images=3000, size=32))
    select = f"{sys.executable} -m ddlabel select big.safetensors - --ipc 900 -q"
    command = f"{select} | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"0\n", b"")
