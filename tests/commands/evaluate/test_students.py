"""Training of students: seeds, figures, the epoch that counts, class-incremental steps."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from students import easy_bundle, experiment, student_records, student_results

import ddlabel
from ddlabel.commands.evaluate.grid import train_students
from ddlabel.commands.evaluate.records import student_key


class TestSeeds:
    def test_students_differ_by_seed_only_and_learn(self):
        ((first, second),) = student_results(experiment())
        assert student_results(experiment()) == [[first, second]]
        assert student_results(experiment(seed=1, seeds=1)) == [[second]]
        assert first["loss"] != second["loss"]
        assert [first["accuracy"], second["accuracy"]] == [1.0, 1.0]

    def test_dropout_draws_from_the_seed(self):
        net = "vit:patch=4,width=8,depth=1,heads=1,mlp=8,dropout=0.5"
        settled = experiment(net=net, epochs=3)
        torch.rand(3)
        assert student_results(settled) == student_results(settled)


class TestGrids:
    def test_the_cells_of_a_grid_are_what_they_are_alone(self):
        grid = [
            experiment(loss=loss, net=net)
            for loss in ("ce", "cosine")
            for net in ("convnet-d1:width=8", "convnet-d2")
        ]
        assert student_results(*grid) == [student_results(cell)[0] for cell in grid]

    def test_two_equal_cells_are_trained_once(self):
        students = train_students([experiment(), experiment()])
        assert [number for number, _, _ in students] == [0, 0]

    def test_finished_students_are_left_out(self):
        settled = experiment()
        students = train_students([settled], lambda: {student_key(settled, 0)})
        assert [seed for _, seed, _ in students] == [1]


class TestFigures:
    def test_records_hold_figures_and_costs(self):
        (record,) = student_records(experiment(seeds=1, confusion=True))
        assert record.options["seed"] == 0
        assert record.result["class_accuracy"] == [1.0, 1.0, 1.0]
        assert record.result["confusion"] == [[10, 0, 0], [0, 10, 0], [0, 0, 10]]
        assert record.cost["seconds"] > 0
        assert record.cost["peak_memory_bytes"] > 2**20
        # Forward, and backward by weights and inputs: 3 × 3 × 8 multiplications at 64 places (no
        # gradient for the pixels), and 8 × 16 inputs of 3 classes. Each is also an addition. There
        # are 30 images and 15 epochs.
        multiplications = 2 * 9 * 8 * 64 + 3 * 128 * 3
        assert record.cost["flops"] == 30 * 15 * 2 * multiplications

    def test_the_cost_names_the_environment_and_the_key_does_not_depend_on_it(self):
        settled = experiment(seeds=1)
        (record,) = student_records(settled)
        num_threads = torch.get_num_threads()
        assert record.cost["threads"] == num_threads
        assert (record.cost["device"], record.cost["precision"]) == ("cpu", "fp32")
        assert record.cost["versions"] == {
            "ddlabel": ddlabel.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": ".".join(map(str, sys.version_info[:3])),
        }
        torch.set_num_threads(num_threads + 1)
        try:
            (other,) = student_records(settled)
        finally:
            torch.set_num_threads(num_threads)
        assert other.cost["threads"] == num_threads + 1
        assert other.key == record.key

    def test_a_student_that_diverges_has_a_record(self):
        ((result,),) = student_results(experiment(seeds=1, optimizer="sgd:lr=1e30"))
        assert result["loss"] is None
        assert result["calibration_error"] is None
        assert result["accuracy"] <= 0.5
        json.dumps(result, allow_nan=False)

    def test_the_curve_has_an_entry_for_every_epoch(self):
        ((plain,),) = student_results(experiment(seeds=1))
        ((result,),) = student_results(experiment(seeds=1, curve=True))
        curve = result.pop("curve")
        assert result == plain
        assert len(curve["loss"]) == len(curve["gradient_norm"]) == 15
        assert curve["loss"][-1] == plain["loss"] < curve["loss"][0]
        assert min(curve["gradient_norm"]) > 0

    def test_the_curve_has_the_accuracy_that_a_shorter_training_ends_with(self):
        constant = {"seeds": 1, "schedule": "constant", "curve": True}
        ((result,),) = student_results(experiment(checks=3, **constant))
        curve = result["curve"]
        assert curve["checked_epochs"] == [5, 10, 15]
        accuracies = []
        for epochs in (5, 10, 15):
            ((shorter,),) = student_results(experiment(epochs=epochs, **constant))
            accuracies.append(shorter["accuracy"])
        assert curve["test_accuracy"] == accuracies
        assert "chosen_epoch" not in result

    def test_a_running_mean_that_forgets_at_once_is_the_student(self):
        ((plain,),) = student_results(experiment(seeds=1))
        ((fast,),) = student_results(experiment(seeds=1, ema=1e-9))
        assert fast["accuracy"] == plain["accuracy"]
        assert fast["calibration_error"] == pytest.approx(plain["calibration_error"], abs=1e-5)

    def test_a_running_mean_that_remembers_is_not_the_student(self):
        ((plain,),) = student_results(experiment(seeds=1, epochs=2))
        ((slow,),) = student_results(experiment(seeds=1, epochs=2, ema=0.9))
        assert slow["calibration_error"] != plain["calibration_error"]


class TestChosenEpoch:
    @pytest.mark.parametrize("select", ["val", "best-on-test"])
    def test_it_is_one_of_the_epochs_to_choose_from(self, select):
        test = easy_bundle(12, seed=9)
        ((result,),) = student_results(experiment(test=test, seeds=1, select=select, checks=5))
        assert result["chosen_epoch"] in (3, 6, 9, 12, 15)

    def test_best_on_test_is_the_best_of_shorter_trainings(self):
        # With a constant learning rate a training of 3 epochs is the beginning of one of 12.
        test = easy_bundle(12, seed=9)
        options = {"seeds": 1, "schedule": "constant", "optimizer": "adam:lr=0.001"}
        accuracies = []
        for epochs in (3, 6, 9, 12):
            ((result,),) = student_results(experiment(test=test, epochs=epochs, **options))
            accuracies.append(result["accuracy"])
        ((best,),) = student_results(
            experiment(test=test, epochs=12, select="best-on-test", checks=4, **options)
        )
        assert best["accuracy"] == best["accuracy_when_chosen"] == max(accuracies)
        assert best["chosen_epoch"] == 3 * (1 + int(np.argmax(accuracies)))

    def test_images_held_out_are_not_trained_on(self):
        (whole,) = student_records(experiment(seeds=1))
        (half,) = student_records(experiment(seeds=1, select="val", holdout=0.5))
        assert half.cost["flops"] == whole.cost["flops"] // 2


@pytest.fixture(scope="module")
def results() -> list[dict]:
    """The figures of four class-incremental students of three steps."""
    (results,) = student_results(experiment(continual=3, seeds=4))
    return results


class TestContinual:
    def test_orders_of_the_classes_are_drawn_from_the_seed(self, results):
        orders = [result["class_order"] for result in results]
        assert all(sorted(order) == [0, 1, 2] for order in orders)
        assert len({tuple(order) for order in orders}) > 1

    def test_accuracy_is_the_mean_over_steps(self, results):
        for result in results:
            steps = [step["accuracy"] for step in result["steps"]]
            assert result["accuracy"] == pytest.approx(sum(steps) / 3)

    def test_every_step_is_a_student_of_the_classes_seen_so_far(self, results):
        bundle = easy_bundle()
        for num_classes, step in enumerate(results[0]["steps"], start=1):
            seen = sorted(results[0]["class_order"][:num_classes])
            part = bundle.of_classes(seen)
            ((alone,),) = student_results(experiment(part, seeds=1, batch_size=50))
            assert step == {"classes": num_classes} | alone
