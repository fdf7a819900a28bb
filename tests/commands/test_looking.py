"""`info`, `check` and `list` from Python: what they return and refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from samples import FIXTURES, make_bundle, with_arrays

from ddlabel.commands.available import KINDS, available, registry
from ddlabel.commands.check import check
from ddlabel.commands.execute import run_command
from ddlabel.commands.info import info, shell_pipeline
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.data import formats


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class TestInfo:
    def test_is_the_header_of_a_file_and_of_an_object(self):
        bundle = make_bundle()
        header = formats.write("a.h5", bundle)
        for given in ("a.h5", Path("a.h5"), bundle):
            assert info(given) == header

    def test_as_json_has_the_shapes_of_the_arrays(self):
        formats.write("a.h5", make_bundle(images=6, classes=2))
        value = run_command("info", {"path": "a.h5"})
        assert value["shapes"] == {
            "images": [6, 1, 8, 8],
            "hard_labels": [6],
            "soft_labels": [6, 2],
        }

    def test_has_the_commands_that_made_the_bundle_as_a_pipe(self):
        values = {"sources": FIXTURES / "digits.npz", "out": "real.h5"}
        run_command("import", values)
        run_command("select", {"bundle": "real.h5", "out": "few.h5", "ipc": 2})
        first, second = shell_pipeline(info("few.h5"))
        assert first.startswith("ddlabel import digits.npz - ")
        assert first.endswith(" |")
        assert second.startswith("ddlabel select - - ")
        assert "--ipc 2" in second
        assert not second.endswith("|")

    @pytest.mark.parametrize(
        ("name", "error"), [("missing.h5", InvalidInputError), ("grid.toml", InvalidInputError)]
    )
    def test_of_no_bundle_is_refused(self, name, error):
        Path("grid.toml").write_text("")
        with pytest.raises(error, match=name):
            info(name)


class TestCheck:
    def test_of_a_sound_bundle_returns_its_header(self):
        bundle = make_bundle()
        header = formats.write("a.safetensors", bundle)
        assert check("a.safetensors").digest == header.digest
        assert check(bundle).digest == header.digest

    @pytest.mark.parametrize("suffix", [".safetensors", ".h5"])
    def test_finds_a_changed_byte_that_info_does_not_read(self, suffix):
        path = Path(f"a{suffix}")
        bundle = make_bundle()
        formats.write(str(path), bundle)
        content = path.read_bytes()
        images = bundle.images.tobytes()
        start = content.index(images)
        changed = bytes([images[0] ^ 1]) + images[1:]
        path.write_bytes(content[:start] + changed + content[start + len(images) :])
        assert info(path).arrays["images"].shape == bundle.images.shape
        with pytest.raises(InvalidInputError, match="images"):
            check(path)

    def test_finds_a_number_without_meaning_in_an_object(self):
        bundle = make_bundle()
        values = np.full(bundle.soft.values.shape, np.nan, np.float32)
        with pytest.raises(InvalidInputError, match="soft_labels"):
            check(with_arrays(bundle, soft_labels=values))


class TestAvailable:
    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "protocols"])
    def test_lists_every_name_of_a_registry_with_a_summary(self, kind):
        entries = available(kind)
        assert [entry.name for entry in entries] == list(registry(kind))
        assert all(entry.summary for entry in entries)

    def test_lists_options_with_their_defaults(self):
        losses = {entry.name: entry.options for entry in available("losses")}
        assert losses["kl"] == {"temperature": 1.0, "scale": True}

    def test_lists_the_content_of_protocols(self):
        assert available("protocols")["gift"].options["loss"] == "gift"

    def test_refuses_an_unknown_kind_with_the_nearest_one(self):
        with pytest.raises(UsageError, match="losses"):
            available("loses")


def test_info_and_check_need_no_torch():
    formats.write("a.h5", make_bundle())
    program = (
        "import sys\n"
        "from ddlabel.commands.execute import run_command\n"
        "run_command('info', {'path': 'a.h5'})\n"
        "run_command('check', {'bundle': 'a.h5'})\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
