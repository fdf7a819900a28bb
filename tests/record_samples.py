"""Records of results files."""

from __future__ import annotations

from ddlabel.data.record import Record, key_of

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
