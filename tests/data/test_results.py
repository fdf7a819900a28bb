"""Results files: records there and back, lines that a crash or a stranger left, several writers."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import pytest
from record_samples import INPUTS, OPTIONS, cell, student

from ddlabel.core.errors import InvalidInputError, OutputExistsError, StorageError, UsageError
from ddlabel.data.record import key_of
from ddlabel.data.results import Results


@pytest.fixture
def results(tmp_path) -> Results:
    return Results(tmp_path / "r.jsonl")


def test_a_line_is_canonical_json_of_the_fields():
    expected = {
        "kind": "student",
        "key": student().key,
        "version": "1",
        "inputs": INPUTS,
        "options": OPTIONS,
        "result": {"accuracy": 0.5, "loss": None},
        "cost": {"seconds": 1.5},
        "role": "own",
    }
    canonical = {"sort_keys": True, "separators": (",", ":")}
    checksum = hashlib.sha256(json.dumps(expected, **canonical).encode()).hexdigest()
    assert student().to_json() == json.dumps(expected | {"sha256": checksum}, **canonical)


def test_a_key_is_the_sha256_of_canonical_json():
    text = (
        '{"inputs":{"test":"x"},"kind":"student","options":{"seed":3},"role":"own","version":"1"}'
    )
    key = key_of("student", version="1", inputs={"test": "x"}, options={"seed": 3}, role="own")
    assert key == hashlib.sha256(text.encode()).hexdigest()


def test_all_that_decides_the_outcome_is_in_the_key():
    decisive = {
        "kind": "student",
        "version": "1",
        "inputs": INPUTS,
        "options": OPTIONS,
        "role": "own",
    }
    changes = [
        {},
        {"kind": "cell"},
        {"version": "2"},
        {"inputs": INPUTS | {"test": "d"}},
        {"inputs": INPUTS | {"zca": "d"}},
        {"options": OPTIONS | {"seed": 1}},
        {"role": "random"},
    ]
    keys = {key_of(**decisive | change) for change in changes}
    assert len(keys) == len(changes)


def test_the_order_of_options_is_not_in_the_key():
    first = key_of("cell", version="1", inputs={}, options={"a": 1, "b": 2})
    second = key_of("cell", version="1", inputs={}, options={"b": 2, "a": 1})
    assert first == second


@pytest.mark.parametrize(
    "record",
    [student(), student(role="", protocol_overridden={"lr": 0.1}), cell()],
    ids=["student", "overridden", "cell"],
)
def test_what_is_appended_is_read_back(results, record):
    results.append(record)
    assert results.read(record.kind) == {record.key: record}


def test_records_are_read_in_the_order_of_the_file_and_the_last_of_a_key_counts(results):
    better = replace(student(0), result={"accuracy": 0.75})
    for record in (student(2), student(0), student(1), better):
        results.append(record)
    read = results.read("student")
    assert [record.options["seed"] for record in read.values()] == [2, 0, 1]
    assert read[better.key] == better


def test_of_one_key_the_last_record_that_serves_counts(results):
    with_curve = student(result={"accuracy": 0.5, "curve": [2.0, 1.0]})
    for record in (student(), with_curve, student(cost={"seconds": 3})):
        results.append(record)
    found = results.read("student", serves=lambda record: "curve" in record.result)
    assert found == {with_curve.key: with_curve}
    assert results.read("student", serves=lambda record: "confusion" in record.result) == {}


def test_a_missing_file_has_no_records_and_is_not_made(results):
    assert results.read("student") == {}
    assert not results.path.exists()


def test_a_line_that_was_cut_off_is_removed_and_told(results):
    for seed in range(2):
        results.append(student(seed))
    whole = results.path.read_bytes()
    results.path.write_bytes(whole[:-20])
    told = []
    assert [*results.read("student", told.append)] == [student(0).key]
    assert len(told) == 1
    assert str(results.path) in told[0]
    results.append(student(1))
    assert results.path.read_bytes() == whole
    assert len(results.read("student", told.append)) == 2
    assert len(told) == 1


def line(*without: str, **changes) -> str:
    """A line with other values under a checksum that is right, as a stranger would write it."""
    values = json.loads(student().to_json()) | changes
    values = {name: value for name, value in values.items() if name not in ("sha256", *without)}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps(values | {"sha256": hashlib.sha256(text.encode()).hexdigest()})


def test_a_line_in_another_json_form_is_the_same_record(results):
    results.path.write_text(line() + "\n")
    assert results.read("student") == {student().key: student()}


FOREIGN = {
    "no JSON": "accuracy 0.5",
    "no checksum": json.dumps(json.loads(line()) | {"sha256": 0}).replace('"sha256"', '"md5"'),
    "a list": "[]",
    "a number": "1",
    "an empty object": "{}",
    "deep": "[" * 200_000,
    "not UTF-8": "\udcff",
    "a field more": line(extra=1),
    "another kind": line(kind="run"),
    "a kind that is a list": line(kind=[]),
    "a short key": line(key="abc"),
    "a key in capitals": line(key="A" * 64),
    "a key that is a list": line(key=["a"] * 64),
    "a version that is a number": line(version=1),
    "a role that is a number": line(role=1),
    "inputs that are a list": line(inputs=[]),
    "a digest that is a number": line(inputs={"test": 1}),
    "options that are null": line(options=None),
    "a cost that is a number": line(cost=0),
    "no accuracy": line(result={}),
    "no result": line(result=None),
    "an accuracy above 1": line(result={"accuracy": 9.2}),
    "an accuracy below 0": line(result={"accuracy": -0.1}),
    "an accuracy of NaN": line(result={"accuracy": float("nan")}),
    "an accuracy in text": line(result={"accuracy": "0.5"}),
}


# What a crash, a bad disk or a glued append leave of a record.
WHOLE = student(1).to_json()
# Cut off in a text and glued to what follows in another: good JSON, whose last names are right.
CUT_OFF = student(2).to_json().partition("kl")[0]
DAMAGED = {
    "an empty line": "",
    "cut off": WHOLE[:-20],
    "cut off early": WHOLE[:5],
    "glued": WHOLE[:50] + WHOLE,
    "two records": WHOLE + WHOLE,
    "glued so that names stand twice": CUT_OFF + WHOLE[WHOLE.index("bbb") :],
    "another accuracy": WHOLE.replace("0.5", "0.6"),
    "another checksum": WHOLE.replace('"sha256":"', '"sha256":"0'),
    "a checksum that is a number": json.dumps(json.loads(WHOLE) | {"sha256": 1}),
    "a zero byte": WHOLE.replace("student", "stud\0nt"),
}


@pytest.mark.parametrize("ending", ["\n", ""], ids=["ended", "at the end of the file"])
@pytest.mark.parametrize("text", FOREIGN | DAMAGED)
def test_a_broken_line_is_skipped_and_named_by_file_and_number(results, text, ending):
    results.append(student())
    content = (FOREIGN | DAMAGED)[text].encode(errors="surrogateescape")
    with results.path.open("ab") as file:
        file.write(content + ending.encode())
    notes = []
    assert results.read("student", notes.append) == {student().key: student()}
    assert len(notes) == (1 if content + ending.encode() else 0)
    assert all(note.startswith(f"{results.path}, line 2: ") for note in notes)
    assert results.append_new(student(1))
    assert [*results.read("student")] == [student().key, student(1).key]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_file_of_nothing_but_damaged_records_is_read_as_empty(results, text):
    results.path.write_text(DAMAGED[text] + "\n")
    notes = []
    assert results.read("student", notes.append) == {}
    assert len(notes) == 1


@pytest.mark.parametrize("text", FOREIGN)
def test_a_file_without_a_record_is_refused_and_left_alone(results, text):
    content = FOREIGN[text].encode(errors="surrogateescape")
    for before in (content + b"\n", content, b"{}\n" + content):
        results.path.write_bytes(before)
        with pytest.raises(InvalidInputError, match=r"r\.jsonl, line 1"):
            results.read("student")
        with pytest.raises(InvalidInputError, match=r"r\.jsonl, line 1"):
            Results(results.path).append_new(student())
        assert results.path.read_bytes() == before


def test_a_record_that_lacks_only_its_newline_is_kept(results):
    results.path.write_text(student(0).to_json())
    assert results.append_new(student(1))
    assert [*results.read("student", pytest.fail)] == [student(0).key, student(1).key]
    assert len(results.path.read_text().splitlines()) == 2


def test_every_changed_byte_of_a_line_is_noticed(results):
    """A record with another byte is never another record."""
    results.append(student(0))
    results.append(student(1))
    first, second = results.path.read_bytes().splitlines()
    for place in range(len(first)):
        changed = bytearray(first)
        changed[place] ^= 1
        results.path.write_bytes(bytes(changed) + b"\n" + second + b"\n")
        notes = []
        assert [*results.read("student", notes.append)] == [student(1).key]
        assert 1 <= len(notes) <= 2


def test_of_very_many_broken_lines_a_few_are_named_and_the_rest_counted(results):
    results.append(student())
    with results.path.open("a") as file:
        file.write("broken\n" * 1000)
    notes = []
    assert len(results.read("student", notes.append)) == 1
    assert len(notes) < 20
    assert "990" in notes[-1]


@pytest.mark.parametrize(("record", "wanted"), [(student(), "cell"), (cell(), "student")])
def test_results_of_the_other_command_are_refused(results, record, wanted):
    results.append(record)
    with pytest.raises(InvalidInputError, match=r"r\.jsonl, line 1"):
        results.read(wanted)


def test_a_record_that_json_cannot_hold_leaves_the_file_alone(results):
    results.append(student(0))
    before = results.path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        results.append(student(1, result={"accuracy": 0.5, "loss": float("nan")}))
    assert results.path.read_bytes() == before


def test_an_output_that_cannot_be_a_results_file_is_refused(tmp_path):
    Results(tmp_path / "r.jsonl").check_output()
    (tmp_path / "old.jsonl").write_text("")
    Results(tmp_path / "old.jsonl").check_output()
    (tmp_path / "folder.jsonl").mkdir()
    for name, error in (
        ("r.json", UsageError),
        ("folder.jsonl", OutputExistsError),
        ("nowhere/r.jsonl", StorageError),
    ):
        with pytest.raises(error, match=name):
            Results(tmp_path / name).check_output()


def test_results_that_go_where_standard_output_goes_are_refused(tmp_path):
    program = (
        "import sys; from ddlabel.core.errors import UsageError\n"
        "from ddlabel.data.results import Results\n"
        "try:\n    Results(sys.argv[1]).check_output()\n"
        "except UsageError:\n    sys.exit(2)\n"
    )
    path = tmp_path / "r.jsonl"
    with path.open("wb") as file:
        done = subprocess.run([sys.executable, "-c", program, path], check=False, stdout=file)
    assert done.returncode == 2


def test_a_full_disk_is_a_storage_error():
    with pytest.raises(StorageError, match="/dev/full"):
        Results("/dev/full").append(student())


class TestAppendNew:
    def test_a_record_whose_key_another_has_appended_is_not_appended_again(self, results):
        results.read("student")
        other = student(cost={"seconds": 9})
        Results(results.path).append(other)
        before = results.path.read_bytes()
        assert not results.append_new(student())
        assert results.path.read_bytes() == before
        assert results.records == {other.key: other}

    def test_a_record_of_another_key_is_appended_after_those_of_others(self, results):
        results.read("student")
        Results(results.path).append(student(1))
        assert results.append_new(student(0))
        assert [*results.records] == [student(1).key, student(0).key]
        assert Results(results.path).read("student") == results.records

    def test_a_record_replaces_one_that_does_not_serve(self, results):
        results.append(student())
        better = student(result={"accuracy": 0.5, "curve": []})
        assert results.read("student", serves=lambda record: "curve" in record.result) == {}
        assert results.append_new(better)
        assert not results.append_new(better)
        assert results.read("student") == {better.key: better}

    def test_records_of_others_are_seen_by_reading_what_is_new(self, results):
        assert results.read("student") == {}
        for seed in range(3):
            Results(results.path).append(student(seed))
            assert [*results.read_new()] == [student(number).key for number in range(seed + 1)]

    def test_reading_what_is_new_opens_no_file_that_has_not_grown(self, results, monkeypatch):
        results.append_new(student())
        monkeypatch.setattr("ddlabel.data.results.locked_lines", pytest.fail)
        assert [*results.read_new()] == [student().key]

    def test_broken_lines_of_others_are_named_by_their_number(self, results):
        notes = []
        results.read("student", notes.append)
        results.append_new(student())
        with results.path.open("a") as file:
            file.write("broken\n")
        results.append_new(student(1))
        assert [note.partition(": ")[0] for note in notes] == [f"{results.path}, line 2"]

    def test_a_file_that_was_deleted_or_cut_meanwhile_is_begun_again(self, results):
        results.append_new(student(0))
        results.path.write_text("")
        results.append_new(student(1))
        assert [*Results(results.path).read("student")] == [student(1).key]
        results.path.unlink()
        results.append_new(student(2))
        assert [*Results(results.path).read("student")] == [student(2).key]
        assert len(results.records) == 3
