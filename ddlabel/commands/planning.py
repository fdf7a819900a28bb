"""The estimated cost of a command before it is run, for `--plan`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddlabel.commands.execute import Call
from ddlabel.commands.reporter import SILENT
from ddlabel.data import formats
from ddlabel.training.cost import Cost
from ddlabel.training.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class PlannedCall:
    """The counted cost and the estimated seconds of a command; None where not known."""

    cost: Cost | None
    seconds: float | None

    @property
    def flops(self) -> int | None:
        """The floating-point operations."""
        return None if self.cost is None else self.cost.flops

    def value(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "flops": self.flops,
            "moved_bytes": None if self.cost is None else self.cost.moved_bytes,
            "steps": None if self.cost is None else self.cost.steps,
            "seconds": self.seconds,
        }


def plan_call(call: Call) -> PlannedCall:
    """Estimate the cost of a command without running it. Its inputs are read and checked.

    The seconds are those of the work of networks on the device, whose speed is measured; reading,
    compiling and testing are left out.

    Raises:
        DDLabelError: An input cannot be used.
    """
    cost = _count_cost(call)
    if cost is None:
        return PlannedCall(cost=None, seconds=None)
    # A list of configs, which all have the same device, if the command has axes.
    options = call.options[0] if isinstance(call.options, list) else call.options
    runtime = Runtime.of(options)
    return PlannedCall(cost=cost, seconds=cost.seconds(runtime.device, runtime.precision))


def _count_cost(call: Call) -> Cost | None:
    """Count the cost of a command; None where it is not known before."""
    name = call.command.name
    if name == "evaluate":
        return _evaluate_cost(call)
    if name == "train-expert":
        return _train_expert_cost(call)
    if name in ("relabel", "densify"):
        return _label_cost(call)
    return None


def _evaluate_cost(call: Call) -> Cost | None:
    """Count the cost of training all students of `evaluate`."""
    from ddlabel.commands.evaluate.plan import plan_experiments

    return plan_experiments(call.options, SILENT).training_cost()


def _train_expert_cost(call: Call) -> Cost:
    """Count the cost of training the experts that are missing."""
    from ddlabel.commands.expert_plan import plan_runs
    from ddlabel.commands.train_expert import open_real_images
    from ddlabel.training.labeler import expert_cost

    real = open_real_images(call.inputs["real"], call.options)
    total = Cost()
    for planned in plan_runs(real, Path(call.inputs["out"]), call.options):
        num_images = real.num_images * int(call.options.epochs)
        total += expert_cost(planned.info, backward=True) * num_images
        total += Cost(steps=planned.info.steps)
    return total


def _label_cost(call: Call) -> Cost | None:
    """Count the cost of labelling; not known if quick students choose among checkpoints."""
    from ddlabel.commands.inputs import open_experts
    from ddlabel.methods.labels.views import layouts
    from ddlabel.training.labeler import expert_cost

    if call.options.real is not None:
        return None
    header = formats.read_header(call.inputs["bundle"])
    num_images, _, height, width = header.arrays["images"].shape
    num_views = 1
    if call.command.name == "densify":
        layout = layouts.resolve(call.options.views)
        num_views = layout(1, height, width, 0).num_views
    total = Cost()
    for run in open_experts(call.options.expert, SILENT):
        total += expert_cost(run.about, backward=False) * (num_images * num_views)
    return total
