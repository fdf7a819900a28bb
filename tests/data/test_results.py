"""Results files: records there and back, lines that a crash or a stranger left, several writers."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ddlabel.core.errors import InvalidInputError, OutputExistsError, StorageError, UsageError
from ddlabel.data.record import Record, key_of
from ddlabel.data.results import Results

INPUTS = {"bundle": "b" * 64, "test": "c" * 64}
OPTIONS = {"loss": "kl", "seed": 0}


def student(seed: int = 0, **changes) -> Record:
    options = OPTIONS | {"seed": seed}
    values = {
        "kind": "student",
        "key": key_of("student", version="1", inputs=INPUTS, options=options, role="own"),
        "version": "1",
        "inputs": INPUTS,
        "options": options,
        "result": {"accuracy": 0.5, "loss": None},
        "cost": {"seconds": 1.5},
        "role": "own",
    }
    return Record(**values | changes)


def cell(**changes) -> Record:
    options = {"command": "info", "bundle": "few.h5"}
    values = {
        "kind": "cell",
        "key": key_of("cell", version="1", inputs={}, options=options),
        "version": "1",
        "inputs": {},
        "options": options,
        "result": [1, {"a": None}],
        "cost": {"seconds": 2},
    }
    return Record(**values | changes)


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
    text = student().to_json()
    assert json.loads(text) == expected
    assert text == json.dumps(expected, sort_keys=True, separators=(",", ":"))


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


def line(**changes) -> str:
    return json.dumps(json.loads(student().to_json()) | changes)


FOREIGN = {
    "no JSON": "accuracy 0.5",
    "an empty line": "",
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


@pytest.mark.parametrize("text", FOREIGN)
def test_a_line_that_is_no_record_is_refused_by_file_and_number(results, text):
    results.append(student())
    with results.path.open("ab") as file:
        file.write(FOREIGN[text].encode(errors="surrogateescape") + b"\n")
    before = results.path.read_bytes()
    with pytest.raises(InvalidInputError, match=r"r\.jsonl, line 2"):
        results.read("student")
    assert results.path.read_bytes() == before


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


def test_a_full_disk_is_a_storage_error():
    with pytest.raises(StorageError, match="/dev/full"):
        Results("/dev/full").append(student())


def test_processes_that_append_at_once_lose_no_record(results):
    program = (
        "import sys; from pathlib import Path\n"
        "from ddlabel.data.results import Record, Results\n"
        "record, count = Record.from_json(sys.argv[2]), 50\n"
        "for number in range(count):\n"
        "    Results(sys.argv[1]).append(record)\n"
        "    assert record.key in Results(sys.argv[1]).read('student', sys.exit)\n"
    )
    records = [student(seed, options={"pad": "x" * 5000, "seed": seed}) for seed in range(3)]
    several = [
        subprocess.Popen([sys.executable, "-c", program, str(results.path), record.to_json()])
        for record in records
    ]
    assert [process.wait() for process in several] == [0, 0, 0]
    lines = Path(results.path).read_text().splitlines()
    assert sorted(lines) == sorted(record.to_json() for record in records for _ in range(50))
