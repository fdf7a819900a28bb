"""`ddlabel sweep`: grids of any command, what a rerun does, shards, plans, Ray."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from samples import records

from ddlabel.data import formats

EVALUATE = """\
command = "evaluate"
[options]
bundle = "few.safetensors"
test = "test.safetensors"
net = "convnet-d1:width=4"
epochs = 2
seeds = 2
[axes]
optimizer = ["sgd", "adamw"]
batch-size = [10, 20]
"""
RELABEL = """\
command = "relabel"
[options]
bundle = "few.safetensors"
expert = ["expert@1", "expert@2"]
out = "soft-{temperature}.safetensors"
[axes]
temperature = [1, 2.5]
"""
CELLS = Path("sweep.jsonl")


def rounded(result: dict) -> dict:
    """A result as it is with another number of threads, which sums in another order."""
    return json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 4))


def grid(text: str, **changes: str) -> str:
    """A grid file of this text; `few="many"` puts a word in another's place."""
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    Path("grid.toml").write_text(text)
    return "grid.toml"


def cells() -> list[dict]:
    return [record["cell"] for record in records(CELLS)]


class TestCells:
    def test_are_the_product_and_give_what_the_command_gives(self, cli, digits):
        assert cli("sweep", grid(EVALUATE)).out == b"sweep.jsonl\n"
        places = [(cell["optimizer"], cell["batch_size"]) for cell in cells()]
        assert places == [("sgd", 10), ("sgd", 20), ("adamw", 10), ("adamw", 20)]
        words = [
            "few.safetensors",
            "--test",
            "test.safetensors",
            "--net",
            "convnet-d1:width=4",
            "--epochs",
            2,
        ]
        by_hand = cli(
            "evaluate", *words, "--seeds", 2, "--optimizer", "adamw", "--batch-size", 10, "--json"
        )
        assert records(CELLS)[2]["result"] == json.loads(by_hand.out)

    def test_make_files_by_placeholders(self, cli, digits):
        cli("sweep", grid(RELABEL))
        cli(
            "relabel",
            "few.safetensors",
            "hand.safetensors",
            "--expert",
            "expert@1",
            "--expert",
            "expert@2",
        )
        assert Path("soft-1.safetensors").read_bytes() == Path("hand.safetensors").read_bytes()
        assert formats.read_header("soft-2.5.safetensors").soft.temperature == 2.5
        assert [record["result"]["out"] for record in records(CELLS)] == [
            f"soft-{t}.safetensors" for t in ("1", "2.5")
        ]

    @pytest.mark.parametrize(
        ("text", "out"),
        [
            ('command = "import"\n[options]\nsources = ["a.npz"]\n[axes]\nsplit = ["train", "test"]\n', "{split}.h5"),
            ('command = "select"\n[options]\nbundle = "real.safetensors"\n[axes]\nipc = [1, 2]\n', "{ipc}.h5"),
            ('command = "train-expert"\n[options]\nreal = "few.safetensors"\nnet = "convnet-d1:width=4"\n'
             'epochs = 1\n[axes]\nzca = [false, true]\n', "run-{zca}"),
            ('command = "edit"\n[options]\nbundle = "real.safetensors"\n[axes]\nwithout_class = [3, 4]\n',
             "no-{without_class}.h5"),
        ],
        ids=["import", "select", "train-expert", "edit"],
    )  # fmt: skip
    def test_of_any_command(self, cli, digits, text, out):
        Path("a.npz").write_bytes((Path(__file__).parents[2] / "fixtures/digits.npz").read_bytes())
        cli("sweep", grid(text, **{"[options]": f'[options]\nout = "{out}"'}))
        assert len(cells()) == 2
        assert all(Path(cell["out"]).exists() for cell in cells())

    def test_without_files_are_swept_too(self, cli, digits):
        cli(
            "sweep",
            grid('command = "info"\n[axes]\nbundle = ["few.safetensors", "real.safetensors"]\n'),
        )
        assert [record["result"]["shapes"]["images"][0] for record in records(CELLS)] == [20, 120]


class TestReruns:
    def test_do_nothing_when_all_is_done(self, cli, digits):
        cli("sweep", grid(EVALUATE))
        content = CELLS.read_bytes()
        said = cli("sweep", "grid.toml", "--json")
        assert json.loads(said.out) == {"out": "sweep.jsonl", "cells": 4, "ran": 0, "failed": 0}
        assert CELLS.read_bytes() == content

    def test_run_what_was_added_or_cut_off(self, cli, digits):
        cli("sweep", grid(EVALUATE))
        CELLS.write_bytes(CELLS.read_bytes()[:-20])
        said = cli("sweep", grid(EVALUATE, **{"[10, 20]": "[10, 20, 5]"}), "--json")
        assert json.loads(said.out)["ran"] == 3
        assert b"its last line was cut off" in said.err
        places = [(cell["optimizer"], cell["batch_size"]) for cell in cells()]
        assert places == [
            ("sgd", 10),
            ("sgd", 20),
            ("adamw", 10),
            ("sgd", 5),
            ("adamw", 20),
            ("adamw", 5),
        ]

    def test_go_by_content_and_not_by_name(self, cli, digits):
        cli("sweep", grid(EVALUATE))
        Path("few.safetensors").rename("moved.safetensors")
        assert json.loads(cli("sweep", grid(EVALUATE, few="moved"), "--json").out)["ran"] == 0
        cli("select", "real.safetensors", "moved.safetensors", "--ipc", 1, "--force")
        assert json.loads(cli("sweep", "grid.toml", "--json").out)["ran"] == 4

    def test_see_that_an_expert_has_changed(self, cli, digits):
        cli("sweep", grid(RELABEL))
        metrics = Path("expert/metrics.jsonl")
        changed = [
            record | {"sha256": f"{number:064}"} for number, record in enumerate(records(metrics))
        ]
        metrics.write_text("".join(json.dumps(record) + "\n" for record in changed))
        for path in Path().glob("soft-*"):
            path.unlink()
        said = cli("sweep", "grid.toml", code=9)
        assert said.err.count(b"does not match its sha256") == 2

    def test_make_again_what_was_deleted_and_leave_alone_what_no_record_owns(self, cli, digits):
        cli("sweep", grid(RELABEL))
        made = Path("soft-1.safetensors").read_bytes()
        Path("soft-1.safetensors").unlink()
        assert json.loads(cli("sweep", "grid.toml", "--json").out)["ran"] == 1
        assert Path("soft-1.safetensors").read_bytes() == made
        CELLS.unlink()
        said = cli("sweep", "grid.toml", code=9)
        assert said.err.count(b"exists") == 2
        said = cli("sweep", grid(RELABEL, **{"[options]": "[options]\nforce = true"}), "--json")
        assert json.loads(said.out)["ran"] == 2
        assert json.loads(cli("sweep", grid(RELABEL), "--json").out)["ran"] == 0

    def test_try_again_what_failed(self, cli, digits):
        text = EVALUATE.replace('"adamw"', '"adamw:lr=-1"')
        said = cli("sweep", grid(text), "--quiet", code=9)
        lines = said.err.decode().splitlines()
        assert lines[0].startswith("cell 3 of 4: optimizer=adamw:lr=-1 batch_size=10 failed:")
        assert len(lines) == 3
        assert (
            lines[-1]
            == "error: 2 of 4 cells failed: mend what they say, and the same command tries them again"
        )
        assert [cell["optimizer"] for cell in cells()] == ["sgd", "sgd"]
        assert b"2 of 2 cells failed" in cli("sweep", "grid.toml", code=9).err

    def test_after_a_kill_finish_with_the_missing_cells_only(self, cli, digits):
        text = EVALUATE.replace("epochs = 2", "epochs = 60").replace("[10, 20]", "[10]")
        grid(text.replace('"adamw"', '"adamw", "adam"'))
        command = [sys.executable, "-m", "ddlabel", "sweep", "grid.toml"]
        running = subprocess.Popen(
            command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
        )
        while not (CELLS.exists() and CELLS.stat().st_size) and running.poll() is None:
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
        before = CELLS.read_bytes()
        done = before.count(b"\n")
        assert 1 <= done < 3
        assert json.loads(cli("sweep", "grid.toml", "--json").out)["ran"] == 3 - done
        assert CELLS.read_bytes().startswith(before)
        assert [cell["optimizer"] for cell in cells()] == ["sgd", "adamw", "adam"]


def test_shards_are_disjoint_and_complete(cli, digits):
    grid(EVALUATE)
    ran = [
        json.loads(cli("sweep", "grid.toml", "--shard", f"{i}/3", "--json").out)["ran"]
        for i in (1, 2, 3)
    ]
    assert ran == [2, 1, 1]
    assert len({record["key"] for record in records(CELLS)}) == 4
    assert json.loads(cli("sweep", "grid.toml", "--json").out)["ran"] == 0


def test_processes_that_append_at_once_lose_no_line(tmp_path):
    code = (
        "import sys; from pathlib import Path; from ddlabel.data import atomic\n"
        "for number in range(100):\n"
        "    atomic.append_line(Path('lines'), sys.argv[1] * 2000)\n"
        "    assert not atomic.whole_lines(Path('lines'))[1]"
    )
    words = [sys.executable, "-c", code]
    several = [subprocess.Popen([*words, letter], cwd=tmp_path) for letter in "abc"]
    assert [each.wait() for each in several] == [0, 0, 0]
    assert sorted((tmp_path / "lines").read_text().split()) == [
        letter * 2000 for letter in "abc" for _ in range(100)
    ]


class TestPlan:
    def test_runs_nothing_and_counts_what_the_record_will_say(self, cli, digits):
        cli("relabel", "few.safetensors", "soft.safetensors", "--expert", "expert")
        cli(
            "densify",
            "soft.safetensors",
            "dense.safetensors",
            "--expert",
            "expert",
            "--views",
            "grid:n=2,r=0.75",
        )
        changes = {
            "few": "dense",
            "[options]": '[options]\nout = "own-{dense_batches}-{batch_size}.jsonl"\nteacher = "expert"',
            'optimizer = ["sgd", "adamw"]': 'dense-batches = ["mix", "sum"]',
            "[10, 20]": "[7]",
        }
        text = EVALUATE
        for old, new in changes.items():
            text = text.replace(old, new)
        grid(text.replace('teacher = "expert"', 'global-labels = "soft"'))
        before = set(Path().iterdir())
        plan = json.loads(cli("sweep", "grid.toml", "--plan", "--json").out)
        assert set(Path().iterdir()) == before
        assert plan["seconds"] == pytest.approx(sum(cell["seconds"] for cell in plan["cells"]))
        cli("sweep", "grid.toml")
        for cell in plan["cells"]:
            spent = sum(record["cost"]["flops"] for record in records(Path(cell["cell"]["out"])))
            assert cell["flops"] == spent
        assert json.loads(cli("sweep", "grid.toml", "--plan", "--json").out)["cells"] == []

    def test_counts_labels_and_experts(self, cli, digits):
        grid(RELABEL)
        one = json.loads(cli("sweep", "grid.toml", "--plan", "--json").out)["cells"][0]["flops"]
        # convnet-d1:width=4 of 8 px, by hand: 3 × 3 on 8 × 8, and 10 classes from 4 × 4 × 4; two experts, 20 images.
        assert one == 20 * 2 * (2 * 9 * 4 * 64 + 2 * 64 * 10)
        grid(
            RELABEL.replace('"relabel"', '"densify"').replace(
                "[axes]", '[axes]\nviews = ["grid:n=3,r=0.5"]'
            )
        )
        assert (
            json.loads(cli("sweep", "grid.toml", "--plan", "--json").out)["cells"][0]["flops"]
            == 9 * one
        )
        text = 'command = "train-expert"\n[options]\nreal = "few.safetensors"\nout = "x{epochs}"\nexperts = 2\n'
        grid(text + 'net = "convnet-d1:width=4"\n[axes]\nepochs = [3]\n')
        assert (
            json.loads(cli("sweep", "grid.toml", "--plan", "--json").out)["cells"][0]["flops"]
            > 3 * 2 * one
        )
        grid('command = "info"\n[axes]\nbundle = ["few.safetensors"]\n')
        assert (
            json.loads(cli("sweep", "grid.toml", "--plan", "--json").out)["cells"][0]["flops"]
            is None
        )


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("old", "new", "code", "message"),
        [
            ('"evaluate"', '"evalute"', 2, "did you mean 'evaluate'?"),
            ('"evaluate"', '"sweep"', 2, "any but sweep and demo"),
            ("command", "comand", 2, "expected command"),
            ("epochs = 2", "epoch = 2", 2, "did you mean 'epochs'?"),
            ("epochs = 2", "epochs = 0", 2, "--epochs is 0: expected at least 1"),
            ("epochs = 2", "epochs = 2.5", 2, "Invalid value for '--epochs'"),
            ("epochs = 2", "epochs = true", 2, "Invalid value for '--epochs'"),
            ("epochs = 2", "epochs = [1, 2]", 2, "expected one value, not a list"),
            ("epochs = 2", "optimizer = 2", 2, "no option too"),
            ("[10, 20]", "10", 2, "each a list of values"),
            ("[10, 20]", "[]", 2, "each a list of values"),
            ("[10, 20]", "[10, -20]", 2, "--batch-size is -20"),
            ("[10, 20]", "[10, 20", 3, "cannot be read as a grid in TOML"),
            ("[axes]", "[axis]", 2, "expected command"),
            ('"few.safetensors"', '"-"', 2, "no standard input"),
            ("seeds = 2", 'out = "{epoch}.jsonl"', 2, "expected in braces only"),
            ("seeds = 2", 'out = "{.jsonl"', 2, "expected in braces only"),
        ],
    )
    def test_grids_before_anything_runs(self, cli, digits, old, new, code, message):
        said = cli("sweep", grid(EVALUATE, **{old: new}), code=code).err.decode()
        assert message in said
        assert said.splitlines()[-1].startswith("error: ")
        assert said.count("error: ") == 1
        assert not CELLS.exists()

    def test_cells_that_would_write_the_same_file(self, cli, digits):
        said = cli("sweep", grid(RELABEL, **{"{temperature}": "{bundle}"}), code=2)
        assert b"several cells would write soft-few.safetensors.safetensors" in said.err
        assert (
            b"Missing argument 'OUT'"
            in cli("sweep", grid(RELABEL, **{"out =": "mean ="}), code=2).err
        )

    @pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3"])
    def test_shards_out_of_range(self, cli, digits, shard):
        said = cli("sweep", grid(EVALUATE), "--shard", shard, code=2)
        assert b"expected I/N with I from 1 to N" in said.err

    def test_options_of_ray_without_it(self, cli, digits):
        assert b"--cpus-per-cell" in cli("sweep", grid(EVALUATE), "--cpus-per-cell", 2, code=2).err

    def test_a_results_file_of_another_kind(self, cli, digits):
        CELLS.write_text('{"result": {"accuracy": 0.5}}\n')
        assert b"line 1: not a result" in cli("sweep", grid(EVALUATE), code=3).err


class TestRay:
    def test_missing(self, cli, digits, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        assert b"pip install 'ddlabel[ray]'" in cli("sweep", grid(EVALUATE), "--ray", code=2).err

    @pytest.mark.parametrize("prefix", ["", "ray://"])
    def test_at_an_address_where_nothing_answers(self, ddlabel, digits, prefix):
        pytest.importorskip("ray")
        with socket.socket() as closed:  # bound and not listening
            closed.bind(("127.0.0.1", 0))
            address = f"{prefix}127.0.0.1:{closed.getsockname()[1]}"
            started = time.monotonic()
            said = ddlabel(
                "sweep", grid(EVALUATE), "--ray", "--ray-address", address, "-q", code=8
            ).stderr.decode()
        assert time.monotonic() - started < 30
        assert said.count("\n") == 1
        assert "Connection refused" in said

    def test_at_an_address_of_something_else(self, ddlabel, digits):
        pytest.importorskip("ray")
        server = subprocess.Popen(
            [sys.executable, "-c", "import socket; s = socket.create_server(('127.0.0.1', 0)); "
             "print(s.getsockname()[1], flush=True); c, _ = s.accept(); c.recv(99); c.sendall(b'HTTP/1.0 400 no')"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        address = f"127.0.0.1:{server.stdout.readline().strip()}"
        said = ddlabel(
            "sweep", grid(EVALUATE), "--ray", "--ray-address", address, "-q", code=8
        ).stderr.decode()
        server.communicate()
        assert said.startswith(f"error: --ray: {address}: what answers is not Ray")

    @pytest.mark.slow
    def test_runs_the_same_cells(self, ddlabel, cli, digits):
        pytest.importorskip("ray")
        grid(EVALUATE.replace('"adamw"', '"adamw:lr=-1"'))
        said = ddlabel("sweep", "grid.toml", "--ray", "-q", code=9).stderr.decode()
        assert len(said.splitlines()) == 3, said
        cli("sweep", "grid.toml", "--out", "here.jsonl", code=9)
        there, here = (
            {record["key"]: rounded(record["result"]) for record in records(path)}
            for path in (CELLS, Path("here.jsonl"))
        )
        assert len(here) == 2
        assert there == here
        assert (
            b"1000 CPUs"
            in ddlabel("sweep", "grid.toml", "--ray", "--cpus-per-cell", 1000, code=8).stderr
        )

    @pytest.mark.slow
    def test_interrupted_keeps_what_is_finished(self, digits):
        pytest.importorskip("ray")
        grid(EVALUATE.replace("[10, 20]", str(list(range(1, 500)))))
        command = [sys.executable, "-m", "ddlabel", "sweep", "grid.toml", "--ray"]
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            running = subprocess.Popen(
                command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            had = CELLS.stat().st_size if CELLS.exists() else 0
            while (CELLS.stat().st_size if CELLS.exists() else 0) == had and running.poll() is None:
                time.sleep(0.01)
            running.send_signal(number)
            assert running.wait(60) == code
            assert CELLS.stat().st_size > had
        assert records(CELLS)
