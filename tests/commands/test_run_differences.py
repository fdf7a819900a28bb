"""What an expert run has and what is asked for, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from artefacts_to_damage import INFO

from ddlabel.commands.run_differences import describe_differences

THERE = replace(INFO, options={"epochs": 2, "batch_size": 30, "save_every": 0.5, "normalise": None})
ASKED = {"epochs": 3, "batch_size": 30, "save_every": 0.25, "normalise": "x" * 99}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"options": ASKED, "steps": 99},
            "--epochs 2 (asked: 3), --normalise none (asked: " + "x" * 60 + "…), "
            "--save-every 0.5 (asked: 0.25)",
        ),
        ({"data": "f" * 64, "steps": 99, "classes": ("a",)}, "other training images"),
        ({"steps_per_epoch": 99}, f"steps_per_epoch {INFO.steps_per_epoch} (now: 99)"),
    ],
)
def test_options_come_with_both_values_and_what_follows_from_them_is_left_out(changes, expected):
    assert describe_differences(THERE, replace(THERE, **changes)) == expected
