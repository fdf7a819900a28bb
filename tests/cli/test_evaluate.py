"""`ddlabel evaluate` on the command line: where bundles are named, and what reruns train."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples import TINY, records, records_without_cost


def test_without_a_bundle_it_runs_on_handwritten_digits(cli):
    words = ("--loss", "cosine", "--optimizer", "sgd", *TINY, "--seeds", 2)
    done = cli("evaluate", *words)
    assert done.out.endswith(b"students)\n")
    assert b"10 handwritten digits of each class" in done.err


def test_configuration_can_name_the_bundle_and_the_test_set(cli, digits):
    Path("run.toml").write_text(
        '[evaluate]\nbundle = "few.safetensors"\ntest = "test.safetensors"\nepochs = 1\n'
        'seeds = 1\nnet = "convnet-d1:width=4"\nprecision = "fp32"\n'
    )
    assert cli("evaluate", "--config", "run.toml").out.endswith(b"% (1 student)\n")


def test_a_rerun_trains_only_the_students_that_are_missing(cli, digits):
    out = Path("results.jsonl")
    words = ("few.safetensors", "--test", "test.safetensors", *TINY, "--out", out)
    cli("evaluate", *words, "--seeds", 2)
    two_students = out.read_bytes()
    done = cli("evaluate", *words, "--seeds", 3)
    assert b"2 of 3 students are in results.jsonl already" in done.err
    assert out.read_bytes().startswith(two_students)


def test_a_record_that_a_crash_cut_off_is_made_again(cli, digits):
    out = Path("results.jsonl")
    words = ("few.safetensors", "--test", "test.safetensors", *TINY, "--seeds", 2, "--out", out)
    cli("evaluate", *words)
    whole = records_without_cost(out)
    out.write_bytes(out.read_bytes()[:-20])
    cli("evaluate", *words)
    # Another training takes other seconds; all else is the same.
    assert records_without_cost(out) == whole


@pytest.fixture
def dense(cli, digits) -> str:
    """few.safetensors with soft labels and those of four views."""
    words = ("--expert", "expert", "--epoch", "last", "--precision", "fp32")
    cli("relabel", "few.safetensors", "soft.safetensors", *words)
    views = ("--views", "grid:n=2,r=0.75")
    cli("densify", "soft.safetensors", "dense.safetensors", *words, *views)
    return "dense.safetensors"


def test_every_way_to_learn_from_views_gives_another_student(cli, dense):
    losses = {}
    for mode in ("mix", "sum"):
        for whole in ("hard", "soft", "none"):
            out = Path(f"{mode}-{whole}.jsonl")
            words = ("--dense-batches", mode, "--global-labels", whole, "--seeds", 1)
            curve = ("--curve", "--out", out)
            cli("evaluate", dense, "--test", "test.safetensors", *TINY, *words, *curve)
            (record,) = records(out)
            losses[mode, whole] = tuple(record["result"]["curve"]["loss"])
    assert len(set(losses.values())) == len(losses)
