"""`sweep --plan`: the operations that are counted before are those of the record after."""

from __future__ import annotations

from pathlib import Path

import pytest
from grids import EVALUATE, RELABEL, changed, without
from samples import records

from ddlabel.commands.execute import run_command
from ddlabel.commands.sweep import sweep
from ddlabel.core.errors import ResourceError

# One image through convnet-d1:width=4 at 8 px, by hand: a convolution of 3 × 3 on 8 × 8 to 4
# channels, and 10 classes from 4 × 4 × 4; a multiplication and an addition are two operations.
FORWARD = 2 * 9 * 4 * 64 + 2 * 64 * 10
NUM_IMAGES = 20
QUICK = {"trial_net": "convnet-d1:width=4", "trial_steps": 2, "trials": 1}


def flops_of(grid):
    return [planned.flops for planned in sweep(grid, plan=True).cells]


def test_plan_of_evaluate_counts_what_the_records_count(digits):
    run_command("relabel", {"bundle": "few.safetensors", "out": "soft.h5", "expert": "expert"})
    run_command(
        "densify",
        {"bundle": "soft.h5", "out": "dense.h5", "expert": "expert", "views": "grid:n=2,r=0.75"},
    )
    options = {
        **EVALUATE["options"],
        "bundle": "dense.h5",
        "out": "own-{dense_batches}.jsonl",
        "global_labels": "soft",
        "batch_size": 7,
    }
    axes = {"dense-batches": ["mix", "sum"]}
    grid = {"command": "evaluate", "options": options, "axes": axes}
    before = set(Path().iterdir())
    plan = sweep(grid, plan=True)
    assert set(Path().iterdir()) == before
    sweep(grid)
    for planned in plan.cells:
        students = records(Path(planned.cell.given["out"]))
        assert planned.flops == sum(student["cost"]["flops"] for student in students)
    assert sweep(grid, plan=True).cells == []


def test_plan_of_online_labels_counts_the_teacher(digits):
    stored, online = (
        flops_of(changed(EVALUATE, options={"labels": labels} | teacher, axes={"batch-size": [10]}))
        for labels, teacher in (("hard", {}), ("online", {"teacher": "expert"}))
    )
    num_shown = NUM_IMAGES * EVALUATE["options"]["epochs"] * EVALUATE["options"]["seeds"]
    assert online[0] - stored[0] == num_shown * FORWARD


def test_plan_uses_the_device_of_the_config_file(digits):
    Path("machine.toml").write_text('[evaluate]\ndevice = "cuda:99"\n')
    grid = changed(EVALUATE, options={"config": "machine.toml"})
    with pytest.raises(ResourceError, match=r"--device cuda:99"):
        sweep(grid, plan=True)


def test_plan_of_labelling_counts_images_experts_and_views(digits):
    (of_images, _) = flops_of(RELABEL)
    assert of_images == NUM_IMAGES * 2 * FORWARD
    views = changed(RELABEL, command="densify", options={"views": "grid:n=3,r=0.5"})
    assert flops_of(views) == [9 * of_images] * 2


def test_plan_of_train_expert_counts_images_epochs_and_experts(digits):
    options = {"real": "few.safetensors", "out": "x{epochs}", "net": "convnet-d1:width=4"}
    grid = {"command": "train-expert", "options": options, "axes": {"epochs": [1, 3]}}
    one_epoch, three_epochs = flops_of(grid)
    assert three_epochs == 3 * one_epoch
    two_experts, _ = flops_of(changed(grid, options={"experts": 2}))
    assert two_experts == 2 * one_epoch
    # The backward pass repeats the products for the weights, and for all inputs but the images.
    assert 2 * FORWARD * NUM_IMAGES < one_epoch <= 3 * FORWARD * NUM_IMAGES


@pytest.mark.parametrize(
    "grid",
    [
        {"command": "info", "axes": {"path": ["few.safetensors"]}},
        changed(EVALUATE, options={"select": "val"}, axes={"batch-size": [10]}),
        changed(
            without(RELABEL, "options", "expert"),
            options={"expert": "expert", "real": "real.safetensors", **QUICK},
        ),
    ],
    ids=["info", "evaluate on a part", "relabel by trial"],
)
def test_plan_does_not_know_the_cost_of_what_is_chosen_later(digits, grid):
    plan = sweep(grid, plan=True)
    assert {planned.flops for planned in plan.cells} == {None}
    assert plan.seconds is None
    assert plan.value()["seconds"] is None


def test_seconds_of_a_plan_are_the_sum_of_its_cells(digits):
    plan = sweep(RELABEL, plan=True)
    assert plan.seconds == pytest.approx(sum(planned.seconds for planned in plan.cells))
    assert plan.seconds > 0
    assert [cell["cell"]["temperature"] for cell in plan.value()["cells"]] == [1, 2.5]
