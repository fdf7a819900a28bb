"""Records of results files, and what is written about an expert run."""

from __future__ import annotations

from ddlabel.data.expert_run import ExpertInfo
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


def expert_info(**changes) -> ExpertInfo:
    values = {
        "net": "convnet-d1:width=4",
        "classes": ("cat", "dog"),
        "channels": 1,
        "size": 8,
        "mean": (0.5,),
        "std": (0.25,),
        "zca": False,
        "seed": 0,
        "steps_per_epoch": 4,
        "steps": 4,
        "data": "d" * 64,
        "options": {"epochs": 1},
    }
    return ExpertInfo(**values | changes)
