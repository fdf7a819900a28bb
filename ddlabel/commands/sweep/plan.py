"""The estimated cost of the cells of a sweep, for `--plan`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddlabel.commands.execute import Call, prepare_call
from ddlabel.commands.reporter import SILENT
from ddlabel.commands.sweep.grid import Cell
from ddlabel.data import formats


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell with its floating-point operations and seconds; None where they are not known."""

    cell: Cell
    flops: int | None
    seconds: float | None

    def value(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "cell": self.cell.options,
            "key": self.cell.key,
            "flops": self.flops,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """The cells that a sweep would run, and their estimated cost."""

    cells: list[PlannedCell]

    @property
    def seconds(self) -> float | None:
        """The seconds of all cells, one after another; None if those of one are not known."""
        total = 0.0
        for planned in self.cells:
            if planned.seconds is None:
                return None
            total += planned.seconds
        return total

    def value(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {"cells": [planned.value() for planned in self.cells], "seconds": self.seconds}


def plan_cells(cells: Sequence[Cell]) -> SweepPlan:
    """Estimate the cost of cells without running them.

    The seconds are those of the floating-point operations at half of the device's measured rate of
    float32 matrix products.

    Raises:
        DDLabelError: An input of a cell cannot be used.
    """
    return SweepPlan(cells=[_plan(cell) for cell in cells])


def _plan(cell: Cell) -> PlannedCell:
    from ddlabel.training.cost import EXPECTED_UTILISATION, matmul_rate
    from ddlabel.training.runtime import pick_device

    call = prepare_call(cell.command, cell.given)
    flops = _count_flops(call)
    seconds = None
    if flops is not None:
        # A list of configs, which all have the same device, if the command has axes.
        options = call.options[0] if isinstance(call.options, list) else call.options
        device = pick_device(options.device)
        seconds = flops / matmul_rate(device) / EXPECTED_UTILISATION
    return PlannedCell(cell=cell, flops=flops, seconds=seconds)


def _count_flops(call: Call) -> int | None:
    """Count the floating-point operations of a command; None where they are not known before."""
    name = call.command.name
    if name == "evaluate":
        return _evaluate_flops(call)
    if name == "train-expert":
        return _train_expert_flops(call)
    if name in ("relabel", "densify"):
        return _label_flops(call)
    return None


def _evaluate_flops(call: Call) -> int | None:
    """Count the operations of training all students of `evaluate`."""
    from ddlabel.commands.evaluate.plan import plan_experiments

    return plan_experiments(call.options, SILENT).training_flops()


def _train_expert_flops(call: Call) -> int:
    """Count the operations of training the experts that are missing."""
    from ddlabel.commands.expert_plan import plan_runs
    from ddlabel.commands.train_expert import open_real_images
    from ddlabel.training.labeler import network_flops

    real = open_real_images(call.inputs["real"], call.options)
    total = 0
    for planned in plan_runs(real, Path(call.inputs["out"]), call.options):
        per_image = network_flops(planned.info, backward=True)
        total += per_image * real.num_images * int(call.options.epochs)
    return total


def _label_flops(call: Call) -> int | None:
    """Count the operations of labelling; not known if quick students choose among checkpoints."""
    from ddlabel.commands.inputs import open_experts
    from ddlabel.methods.labels.views import layouts
    from ddlabel.training.labeler import network_flops

    if call.options.real is not None:
        return None
    header = formats.read_header(call.inputs["bundle"])
    num_images, _, height, width = header.arrays["images"].shape
    num_views = 1
    if call.command.name == "densify":
        layout = layouts.resolve(call.options.views)
        num_views = layout(1, height, width, 0).num_views
    runs = open_experts(call.options.expert, SILENT)
    per_image = sum(network_flops(run.about, backward=False) for run in runs)
    return per_image * num_images * num_views
