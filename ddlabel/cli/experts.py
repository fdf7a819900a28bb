"""`train-expert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ddlabel import formats
from ddlabel.bundle import check_same_task
from ddlabel.cli.command import Say, command, one_standard_input
from ddlabel.config import TrainExpertOptions


def register(app: typer.Typer) -> None:
    """Add `train-expert`."""

    @command(app, "train-expert", TrainExpertOptions)
    def train_expert(
        real: Annotated[str, typer.Argument(metavar="REAL", help="bundle of real images; - is standard input")],
        out: Annotated[Path, typer.Argument(metavar="OUT", help="folder of the expert run")],
        options: TrainExpertOptions,
        say: Say,
        test: Annotated[
            str | None, typer.Option("--test", help="bundle of test images: their accuracy is recorded, never used")
        ] = None,
    ) -> None:
        """Train experts on real images and keep their checkpoints; a killed run goes on where it stopped."""
        one_standard_input([real, test or ""])
        bundle, header = formats.load(real)
        tested = None if test is None else formats.read(test)
        from ddlabel.steps.train_expert import plan
        from ddlabel.steps.train_expert import train_expert as step

        runs = plan(bundle, out, options, header.digest)
        if tested is not None:
            check_same_task(f"the test set {test}", bundle, tested)
        for path, about in runs:
            if (path / "resume.pt").exists():
                say.note(f"{path}: going on where an earlier run stopped")
            run = step(bundle, tested, path, about, options, lambda record: say.note(_line(record)), say.bar)
            say.data(str(path), {"out": str(path), "checkpoints": run.metrics()})


def _line(record: dict[str, Any]) -> str:
    figures = [f"loss {record['loss']:.4f}", f"train {100 * record['train_accuracy']:.1f} %"]
    if "test_accuracy" in record:
        figures.append(f"test {100 * record['test_accuracy']:.1f} %")
    return f"epoch {record['epoch']:g}: {', '.join(figures)}"
