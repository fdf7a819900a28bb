"""`ddlabel doctor`: what it prints, what it leaves out, and that its command lines mend."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experts import write_run
from samples import make_bundle
from stub_experts import rows_bundle, rows_expert

import ddlabel
from ddlabel.commands.doctor import run_checks
from ddlabel.commands.doctor.case import Case, HeldOut, checks, class_list
from ddlabel.commands.doctor.distilled import distilled_for_hard_labels
from ddlabel.commands.reporter import SILENT
from ddlabel.core.errors import UsageError

NEED_NO_EXPERT = {"label-space", "constant-images", "duplicated-images", "pixel-values"}


def mend(line: str, cli) -> None:
    """Run a command line that the doctor printed."""
    program, *words = shlex.split(line)
    assert program == "ddlabel"
    cli(*words)


def test_the_command_that_it_prints_mends_a_permuted_class_order(cli):
    bundle = rows_bundle()
    numbers = np.array([3, 0, 4, 1, 2])
    wrong = replace(bundle, hard_labels=numbers[bundle.hard_labels])
    ddlabel.write("few.safetensors", wrong)
    expert = rows_expert(bundle)
    write_run(Path(expert.run), bundle, net="convnet-d1:width=4")
    inputs = {"case": Case(bundle=wrong, name="few.safetensors"), "expert": expert}
    (finding,) = run_checks(inputs, SILENT).findings
    for line in finding.commands:
        mend(line, cli)
    mended = ddlabel.read("few-mended.safetensors")
    assert mended.classes == bundle.classes
    assert np.array_equal(mended.hard_labels, bundle.hard_labels)
    inputs["case"] = Case(bundle=mended, name="few-mended.safetensors")
    assert run_checks(inputs, SILENT).findings == ()


def test_class_names_with_commas_are_written_to_a_file(tmp_path):
    names = ("tench, Tinca tinca", "it's", "100%s")
    (line,), value = class_list(names)
    subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True)
    assert (tmp_path / value).read_text().splitlines() == list(names)
    assert class_list(("a", "b")) == ((), "a,b")


def test_images_that_were_optimised_for_their_labels_get_a_hint():
    bundle, test = rows_bundle(), rows_bundle(images=200)
    expert = rows_expert(bundle)
    # Brighter rows: the expert is surer of them than of test images.
    images = (bundle.images / 255).astype(np.float32) * 1.0
    images[np.arange(60), :, bundle.hard_labels] += 0.2137
    pixels = replace(bundle.pixels, space="unit")
    learned = replace(bundle, images=images, pixels=pixels)
    held_out = HeldOut(bundle=test, name="test.h5")

    def found(bundle) -> list:
        case = Case(bundle=bundle, name="few.h5")
        return distilled_for_hard_labels(case, expert, held_out)

    (finding,) = found(learned)
    assert finding.certainty == "possible"
    assert "easier" in finding.found
    assert finding.commands == (
        "ddlabel relabel few.h5 few-mended.h5 --expert expert",
        "ddlabel evaluate few.h5 --test test.h5 --labels hard",
        "ddlabel evaluate few-mended.h5 --test test.h5 --labels soft",
    )
    assert found(replace(learned, soft=make_bundle(images=60, classes=5).soft)) == []
    assert found(bundle) == []


def test_checks_without_their_input_are_named(cli):
    ddlabel.write("few.h5", make_bundle(images=40, channels=3))
    printed = cli("doctor", "few.h5").out.decode()
    value = json.loads(cli("doctor", "few.h5", "--json").out)
    assert value["left_out"]["class-order"] == "--expert"
    assert value["left_out"]["overlap-with-test"] == "--test"
    assert value["left_out"]["distilled-for-hard-labels"] == "--expert and --test"
    assert set(value["passed"]) >= NEED_NO_EXPERT
    assert {*value["passed"], *value["left_out"]} == {*checks}
    assert value["findings"] == []
    assert "not looked at without --test: " in printed


def test_a_finding_is_printed_with_its_command(cli):
    bundle = make_bundle(images=40, channels=3)
    images = np.array(bundle.images)
    images[3] = 9
    ddlabel.write("few.safetensors", replace(bundle, images=images))
    lines = cli("doctor", "few.safetensors").out.decode().splitlines()
    assert lines[0] == "constant-images (certain): images of one colour: 1 of 40, rows 3"
    mend(lines[2].strip(), cli)
    assert len(ddlabel.read("few-mended.safetensors")) == 39


def test_one_finding_is_mended_at_a_time(cli):
    """The second command would start from the bundle without the first mend."""
    bundle = make_bundle(images=40, channels=3)
    images = np.array(bundle.images)
    images[3] = 9
    images[6] = images[4]
    ddlabel.write("few.safetensors", replace(bundle, images=images))
    name = "few.safetensors"
    for left in (2, 1, 0):
        findings = json.loads(cli("doctor", name, "--json").out)["findings"]
        assert len(findings) == left
        lines = [line for finding in findings for line in finding["commands"]]
        if left == 2:
            assert "then run doctor on few-mended.safetensors" in findings[1]["advice"]
        if left:
            (line,) = lines
            mend(line, cli)
            name = f"{Path(name).stem}-mended.safetensors"
    assert len(ddlabel.read(name)) == 38


def test_an_expert_run_and_test_images_are_read_from_files_and_objects(cli):
    bundle = make_bundle(images=40, channels=3)
    ddlabel.write("few.safetensors", bundle)
    run = write_run(Path("expert"), bundle, net="convnet-d1:width=4", steps=2)
    words = ("--expert", "expert@1", "--test", "few.safetensors", "--precision", "fp32")
    value = json.loads(cli("doctor", "few.safetensors", *words, "--json").out)
    assert value["left_out"] == {}
    overlap = [each for each in value["findings"] if each["check"] == "overlap-with-test"]
    assert overlap[0]["found"].startswith("images that are test images: 40 of 40, of them 40 equal")
    diagnosis = ddlabel.doctor(bundle, expert=str(run.folder), test="few.safetensors")
    assert {each.check for each in diagnosis.findings} >= {"overlap-with-test"}


def test_several_runs_are_refused(tmp_path):
    bundle = make_bundle()
    for name in ("a", "b"):
        write_run(tmp_path / name, bundle, net="convnet-d1:width=4")
    with pytest.raises(UsageError, match="has 2 runs"):
        ddlabel.doctor(bundle, expert=str(tmp_path))
