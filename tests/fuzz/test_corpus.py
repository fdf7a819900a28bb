"""The corpus of the fuzzer, and a short run of its JSON mutator without its library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzz import json_mutator
from fuzz.header import check

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
# How often a file is accepted: as it is, and once more under its right digest.
ACCEPTED = {
    "all-arrays.json": 2,
    "huge-numbers.json": 1,
    "index.head": 1,
    "index.json": 2,
    "name-twice.json": 1,
    "no-labels.json": 2,
    "unit.json": 2,
    "views.json": 2,
}


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_a_header_is_accepted_whole_or_refused(path):
    assert check(path.read_bytes()) == ACCEPTED.get(path.name, 0)


def test_all_names_of_accepted_headers_are_in_the_corpus():
    assert set(ACCEPTED) < {path.name for path in CORPUS}


def test_headers_with_other_values_are_accepted_whole_or_refused():
    num_accepted = 0
    num_tried = 0
    for path in CORPUS:
        for seed in range(60):
            changed = json_mutator.change(path.read_bytes(), seed)
            if changed is not None:
                num_accepted += check(changed)
                num_tried += 1
    assert num_tried > 500
    assert 0 < num_accepted < num_tried


@pytest.mark.parametrize("seed", range(8))
def test_the_mutator_changes_json_into_json(seed):
    text = '{"a": [1, 2], "b": {"c": "x"}}'
    changed = json_mutator.change(text.encode(), seed)
    assert changed == json_mutator.change(text.encode(), seed)
    assert isinstance(json.loads(changed), dict)
    assert json_mutator.change(b"no JSON", seed) is None
