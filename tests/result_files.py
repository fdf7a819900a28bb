"""Results files of students with chosen accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddlabel.core.config import EvaluateOptions
from ddlabel.data.provenance import sha256_of_text
from ddlabel.data.record import Record, key_of


def students(
    accuracies: Sequence[float],
    *,
    bundle: str = "soft.safetensors",
    first_seed: int = 0,
    role: str = "own",
    origins: dict[str, Any] | None = None,
    result: dict[str, Any] | None = None,
    **options: Any,
) -> list[Record]:
    """One student for each accuracy in per cent, with successive seeds."""
    recorded = EvaluateOptions(**{"labels": "soft", "batch_size": 10} | options).recorded()
    del recorded["seeds"]
    facts = {"name": bundle, "images": 20, "classes": 10, "made_by": [f"ddlabel make {bundle}"]}
    inputs = {"bundle": sha256_of_text(bundle), "test": sha256_of_text("test")}
    records = []
    for seed, accuracy in enumerate(accuracies, start=first_seed):
        of_student = recorded | {"seed": seed}
        records.append(
            Record(
                kind="student",
                key=key_of("student", version="1", inputs=inputs, options=of_student, role=role),
                version="1",
                inputs=inputs,
                options=of_student,
                result={"accuracy": accuracy / 100, "loss": 0.5} | (result or {}),
                cost={"seconds": 2.0, "device": "cpu"},
                role=role,
                origins={"bundle": facts | (origins or {}), "test": {"name": "test.safetensors"}},
            )
        )
    return records


def write_results(path: str | Path, *groups: Sequence[Record]) -> Path:
    """Write records as a results file."""
    lines = [record.to_json() + "\n" for group in groups for record in group]
    Path(path).write_text("".join(lines))
    return Path(path)
