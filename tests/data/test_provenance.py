"""Digests of contents, and the command lines of a history."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from ddlabel.core.errors import InvalidInputError
from ddlabel.data import provenance
from ddlabel.data.provenance import (
    GIVEN,
    HARD_LABELS,
    LARGEST_ENTRIES,
    Entry,
    Input,
    array_chunks,
    canonical_json,
    hard_labels_are_derived,
    patch_factor,
    sha256_of_array,
    sha256_of_path,
    shell_lines,
)


def test_canonical_json_sorts_keys_keeps_letters_and_has_no_spaces():
    assert canonical_json({"b": [1, None], "a": "ß"}) == '{"a":"ß","b":[1,null]}'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


@pytest.mark.parametrize("chunk_bytes", [1, 12, 50, 1 << 24])
def test_an_arrays_digest_is_of_its_bytes_in_c_order(monkeypatch, chunk_bytes):
    monkeypatch.setattr(provenance, "_CHUNK_BYTES", chunk_bytes)
    array = np.arange(30, dtype=np.int16).reshape(2, 3, 5).transpose(2, 1, 0)
    content = np.ascontiguousarray(array).tobytes()
    assert b"".join(array_chunks(array)) == content
    assert sha256_of_array(array) == hashlib.sha256(content).hexdigest()


def test_an_array_without_an_axis_has_the_bytes_of_its_number():
    assert b"".join(array_chunks(np.array(7, np.int64))) == (7).to_bytes(8, "little")


def test_a_folders_digest_is_of_names_and_contents(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"2")
    (tmp_path / "a").write_bytes(b"1")
    files = [["a", hashlib.sha256(b"1").hexdigest()], ["b/c", hashlib.sha256(b"2").hexdigest()]]
    text = json.dumps(files, separators=(",", ":"))
    assert sha256_of_path(tmp_path) == hashlib.sha256(text.encode()).hexdigest()
    assert sha256_of_path(tmp_path / "a") == hashlib.sha256(b"1").hexdigest()


def test_an_entry_is_read_back_from_its_json():
    given = Input(role="expert", name="run@3", sha256="e" * 64)
    entry = Entry(command="relabel", version="1", options={"k": [1]}, bundle="b", inputs=(given,))
    value = {
        "command": "relabel",
        "version": "1",
        "options": {"k": [1]},
        "bundle": "b",
        "inputs": [{"role": "expert", "name": "run@3", "sha256": "e" * 64}],
    }
    assert Entry.from_json(value) == entry


def test_facts_are_kept_and_without_any_an_entry_is_as_before():
    entry = Entry(
        command="import", version="1", facts={"learned_lr": 0.5, "accuracies": {"a": [1]}}
    )
    assert entry.to_json()["facts"] == {"learned_lr": 0.5, "accuracies": {"a": [1]}}
    assert Entry.from_json(entry.to_json()) == entry
    assert "facts" not in Entry(command="import", version="1").to_json()


@pytest.mark.parametrize("fact", [None, [], ["x"], {"a": [None]}, [[1]]])
def test_facts_that_nothing_could_show_are_refused(fact):
    value = Entry(command="import", version="1").to_json() | {"facts": {"x": fact}}
    with pytest.raises(TypeError):
        Entry.from_json(value)


def test_the_last_command_that_knows_says_where_hard_labels_come_from():
    derived = Entry(command="import", version="1", facts={HARD_LABELS: LARGEST_ENTRIES})
    other = Entry(command="edit", version="1")
    given = Entry(command="import-labels", version="1", facts={HARD_LABELS: GIVEN})
    assert hard_labels_are_derived([derived, other])
    assert not hard_labels_are_derived([derived, given, other])
    assert not hard_labels_are_derived([other])


class TestPatchFactor:
    @staticmethod
    def said(*factors):
        facts = [{} if factor is None else {"factor": factor} for factor in factors]
        return [Entry(command="c", version="1", facts=each) for each in facts]

    def test_the_last_command_that_says_one_decides(self):
        assert patch_factor(self.said()) is None
        assert patch_factor(self.said(None, None)) is None
        assert patch_factor(self.said(2, None)) == 2
        assert patch_factor(self.said(2, 3)) == 3

    @pytest.mark.parametrize("factor", [0, -1, 1.5, "2", [2]])
    def test_nonsense_is_refused(self, factor):
        with pytest.raises(InvalidInputError, match=r"factor of .*at least 1"):
            patch_factor(self.said(factor))


def test_a_history_is_shell_lines_that_would_make_the_bundle_again():
    history = (
        Entry(
            command="import",
            version="1",
            options={"size": None, "rgb": True, "class_names": "a b"},
            inputs=(Input(role="source", name="my images", sha256=""),),
        ),
        Entry(
            command="relabel",
            version="1",
            options={"temperature": 2.5, "refine": False, "op": ("x", "y")},
            bundle="d" * 64,
            inputs=(Input(role="expert", name="run@3", sha256=""),),
        ),
    )
    assert shell_lines(history) == [
        "ddlabel import 'my images' - --rgb --class-names 'a b'",
        "ddlabel relabel - - --expert run@3 --temperature 2.5 --op x --op y",
    ]
