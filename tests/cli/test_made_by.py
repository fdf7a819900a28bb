"""The command lines under "made by" in `ddlabel info`: short, and they make the bundle again."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from samples import FIXTURES

from ddlabel.commands.command import MODULES, load_command
from ddlabel.core.config import MAKERS
from ddlabel.data import formats

RELABEL = ("relabel", "few.safetensors", "out.safetensors", "--expert", "expert")


def lines_of(cli, name: str) -> list[str]:
    return json.loads(cli("info", name, "--json").out)["shell"]


def make_again(cli, name: str) -> str:
    """Run the lines of a bundle one after another, through files in place of pipes."""
    shutil.copy(FIXTURES / "digits.npz", "digits.npz")
    given = ""
    for number, line in enumerate(lines_of(cli, name)):
        made = f"again-{number}.safetensors"
        words = shlex.split(line.removesuffix("|"))[1:]
        if given:
            words[words.index("-")] = given
        words[words.index("-")] = made
        cli(*words)
        given = made
    return given


COMMANDS = [
    "relabel few.safetensors out.safetensors --expert expert",
    "relabel few.safetensors out.safetensors --expert expert --epoch last --temperature 2.5",
    "relabel few.safetensors out.safetensors --expert expert@0.5 --expert expert@2 --weights 2,1",
    "densify few.safetensors out.safetensors --expert expert --epoch 1.5 --views grid:n=2,r=0.6",
    "select real.safetensors out.safetensors --ipc 1 --expert expert --method cross-entropy",
    "edit few.safetensors out.safetensors --class-order names/order.txt",
    "edit few.safetensors out.safetensors --class-names 'a b,c,d,e,f,g,h,i,j,k'",
    "import-labels few.safetensors names/soft.npy out.safetensors",
]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_lines_make_the_same_bundle_again(line, cli, digits):
    Path("names").mkdir()
    Path("names/order.txt").write_text("\n".join(map(str, reversed(range(10)))))
    np.save("names/soft.npy", np.eye(10, dtype=np.float32)[np.arange(20) // 2])
    cli(*shlex.split(line))
    again = make_again(cli, "out.safetensors")
    assert formats.read_header(again).digest == formats.read_header("out.safetensors").digest


def test_a_chosen_epoch_is_written_the_same_however_it_was_asked_for(cli, digits):
    cli(*RELABEL, "--epoch", "2")
    cli("relabel", "few.safetensors", "named.safetensors", "--expert", "expert@2")
    out, named = (formats.read_header(f"{name}.safetensors") for name in ("out", "named"))
    assert out.digest == named.digest
    line = r"ddlabel relabel - - --expert expert@2 --precision (bf16|fp32)"
    assert re.fullmatch(line, lines_of(cli, "out.safetensors")[-1])


def test_what_trials_chose_stands_in_the_line_and_needs_no_trial(cli, digits):
    trials = "--real test.safetensors --trial-steps 1 --trials 1 --trial-net convnet-d1:width=4"
    cli(*RELABEL, "--temperature", "auto", "--epoch", "1", *trials.split())
    refine = "refine out.safetensors refined.safetensors --gamma auto"
    cli(*refine.split(), *trials.split())
    *_, relabelled, refined = lines_of(cli, "refined.safetensors")
    for left_out in ("auto", "--real", "--trial"):
        assert left_out not in relabelled + refined
    assert "--gamma" in refined
    made = formats.read("refined.safetensors")
    again = formats.read(make_again(cli, "refined.safetensors"))
    assert np.array_equal(again.soft.values, made.soft.values)
    assert again.soft.meta == made.soft.meta
    # The history has the images that the choice was made with.
    assert [given.role for given in made.history[-1].inputs] == ["real"]


def test_options_of_another_version_are_all_written():
    """Its defaults may have been others."""
    from ddlabel.data.provenance import Entry, shell_lines

    entry = Entry(command="refine", version="0.0.1", options={"gamma": 0.1}, bundle="d" * 64)
    assert shell_lines([entry]) == ["ddlabel refine - - --gamma 0.1"]


def test_the_options_of_every_command_that_makes_bundles_are_known():
    declared = {name: load_command(name) for name in MODULES}
    makers = {name: each.config for name, each in declared.items() if each.makes_bundle}
    assert makers == MAKERS
