"""Students of whole grids: what decides them, what is measured, what they are compared with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import make_bundle, records, with_arrays
from scipy import stats

from ddlabel.commands.evaluate.experiment import Experiment, loss_for, settle
from ddlabel.commands.evaluate.grid import controls, evaluate, scores
from ddlabel.commands.evaluate.records import key_of
from ddlabel.commands.train_expert import plan, train_expert
from ddlabel.core.config import EvaluateOptions, TrainExpertOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels import views
from ddlabel.methods.metrics import (
    calibration_error,
    compare,
    confusion,
    dd_ranking,
    student_figures,
)
from ddlabel.training.device_data import DeviceBundle

TINY = {
    "net": "convnet-d1:width=8",
    "epochs": 15,
    "augment": "none",
    "optimizer": "adam:lr=0.01",
    "precision": "fp32",
}


def easy_bundle(images: int = 30, seed: int = 0) -> Bundle:
    """Class i is bright in column i: easy to learn."""
    bundle = make_bundle(images=images, seed=seed)
    pixels = np.random.default_rng(seed).integers(0, 60, bundle.images.shape).astype(np.uint8)
    for row, hard in enumerate(bundle.hard_labels):
        pixels[row, :, :, hard] += 190
    return replace(bundle, images=pixels)


def case(bundle: Bundle | None = None, test: Bundle | None = None, **options) -> Experiment:
    bundle = easy_bundle() if bundle is None else bundle
    chosen = EvaluateOptions(**TINY | {"labels": "hard", "seeds": 2} | options)
    return settle(
        Experiment(
            bundle=lambda _: bundle,
            test=test or bundle,
            options=chosen,
            digests={"bundle": "b", "test": "t"},
        )
    )


def results(*cases: Experiment) -> list[list[dict]]:
    found = [[] for _ in cases]
    for number, _, record in evaluate(cases, set()):
        found[number].append(record["result"])
    return found


@pytest.fixture(scope="module")
def expert(tmp_path_factory) -> ExpertRun:
    """An expert of the easy images with two checkpoints."""
    real, folder = easy_bundle(60, seed=5), tmp_path_factory.mktemp("expert")
    options = TrainExpertOptions(
        net="convnet-d1:width=8",
        epochs=2,
        batch_size=20,
        augment="none",
        compile="off",
        precision="fp32",
    )
    ((path, about),) = plan(real, folder, options, "digest")
    return train_expert(real, None, path, about, options, lambda _: None)


class TestStudents:
    def test_they_differ_by_seed_only_and_learn(self):
        first, second = results(case()), results(case())
        (alone,) = results(case(seed=1, seeds=1))
        assert first == second
        assert alone == first[0][1:]
        assert first[0][0]["loss"] != first[0][1]["loss"]
        assert [result["accuracy"] for result in first[0]] == [1.0, 1.0]

    def test_the_cells_of_a_grid_are_what_they_are_alone(self):
        grid = [
            case(loss=loss, net=net)
            for loss in ("ce", "cosine")
            for net in ("convnet-d1:width=8", "convnet-d2")
        ]
        assert results(*grid) == [results(cell)[0] for cell in grid]

    def test_dropout_draws_from_the_seed(self):
        net = case(net="vit:patch=4,width=8,depth=1,heads=1,mlp=8,dropout=0.5", epochs=3)
        torch.rand(3)
        assert results(net) == results(net)

    def test_two_equal_cells_are_trained_once(self):
        assert [number for number, _, _ in evaluate([case(), case()], set())] == [0, 0]

    def test_records_hold_figures_and_costs(self):
        ((_, seed, record),) = evaluate([case(seeds=1, confusion=True)], set())
        result, cost = record["result"], record["cost"]
        assert seed == record["options"]["seed"] == 0
        assert result["class_accuracy"] == [1.0, 1.0, 1.0]
        assert result["confusion"] == [[10, 0, 0], [0, 10, 0], [0, 0, 10]]
        assert cost["seconds"] > 0
        assert cost["peak_memory_bytes"] > 2**20
        # Forward, and backward by weights and inputs: 3 × 3 × 8 multiplications at 64 places (no gradient for the
        # pixels), and 8 × 16 inputs of 3 classes; twice that, an addition each; 30 images, 15 epochs.
        assert cost["flops"] == 30 * 15 * 2 * (2 * 9 * 8 * 64 + 3 * 128 * 3)

    def test_a_student_that_diverges_has_a_record(self):
        ((result,),) = results(case(seeds=1, optimizer="sgd:lr=1e30"))
        assert result["loss"] is None
        assert result["calibration_error"] is None
        assert result["accuracy"] <= 0.5
        json.dumps(result, allow_nan=False)

    def test_the_curve_has_an_entry_an_epoch(self):
        ((plain,),) = results(case(seeds=1))
        ((result,),) = results(case(seeds=1, curve=True))
        curve = result.pop("curve")
        assert result == plain
        assert len(curve["loss"]) == len(curve["gradient_norm"]) == 15
        assert curve["loss"][-1] == plain["loss"] < curve["loss"][0]
        assert min(curve["gradient_norm"]) > 0

    def test_a_running_mean_that_forgets_at_once_is_the_student(self):
        ((plain,),) = results(case(seeds=1))
        ((fast,),) = results(case(seeds=1, ema=1e-9))
        ((slow,),) = results(case(seeds=1, ema=0.9, epochs=2))
        assert fast["accuracy"] == plain["accuracy"]
        assert fast["calibration_error"] == pytest.approx(plain["calibration_error"], abs=1e-5)
        assert slow["calibration_error"] != plain["calibration_error"]

    @pytest.mark.parametrize("select", ["val", "best-on-test"])
    def test_a_chosen_epoch_is_named(self, select):
        test = easy_bundle(12, seed=9)
        ((result,),) = results(case(test=test, seeds=1, select=select, checks=5))
        assert result["chosen_epoch"] in (3, 6, 9, 12, 15)
        if select == "best-on-test":
            assert result["accuracy_when_chosen"] == result["accuracy"]
            last = results(case(test=test, seeds=1))[0][0]["accuracy"]
            assert result["accuracy"] >= last

    def test_images_held_out_are_not_trained_on(self):
        whole, held = case(seeds=1), case(seeds=1, select="val", holdout=0.5)
        ((_, _, all_of), (_, _, half)) = [
            next(iter(evaluate([each], set()))) for each in (whole, held)
        ]
        assert half["cost"]["flops"] == all_of["cost"]["flops"] // 2

    def test_class_incremental_students_see_the_classes_of_their_step_only(self):
        ((first, second),) = results(case(continual=3))
        assert sorted(first["class_order"]) == [0, 1, 2]
        assert first["class_order"] != second["class_order"] or first != second
        assert [step["classes"] for step in first["steps"]] == [1, 2, 3]
        assert [len(step["class_accuracy"]) for step in first["steps"]] == [1, 2, 3]
        assert first["accuracy"] == pytest.approx(
            np.mean([step["accuracy"] for step in first["steps"]])
        )


class TestLabels:
    def test_an_online_teacher_without_augmentation_gives_the_stored_labels(self, expert):
        from ddlabel.commands.labeling import label_images as relabel
        from ddlabel.core.config import RelabelOptions

        picks = [(expert, expert.step_of("last"))]
        stored = relabel(easy_bundle(), picks, RelabelOptions(compile="off"))
        online = settle(
            replace(
                case(), teacher=picks, options=EvaluateOptions(**TINY, labels="online", seeds=1)
            )
        )
        ((a,),), ((b,),) = results(online), results(case(stored, labels="soft", seeds=1))
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["accuracy"] == b["accuracy"]

    def test_an_online_teacher_labels_the_augmented_picture(self, expert):
        picks = [(expert, expert.step_of("last"))]
        own = replace(
            case(),
            teacher=picks,
            options=EvaluateOptions(**TINY | {"augment": "dsa"}, labels="online", seeds=1),
        )
        from ddlabel.commands.evaluate.device_cache import DeviceCache, Student

        bench, bundle = DeviceCache([own]), easy_bundle()
        (network,), _ = bench.networks(
            Student(case=own, bundle=bundle, test=own.test, columns=range(2), seed=0), 1, 0
        )
        labeler = bench.labeler(own, 0)
        images = torch.rand(4, 1, 8, 8)
        torch.testing.assert_close(
            labeler.after(network.prepare)(network.prepare(images)), labeler(images)
        )
        other = type(network.prepare)(torch.full((1, 1, 1, 1), 0.3), torch.full((1, 1, 1, 1), 0.7))
        torch.testing.assert_close(labeler.after(other)(other(images)), labeler(images))

    def test_the_labels_of_a_seed_serve_every_cell(self, expert):
        picks = [(expert, expert.step_of("last"))]
        cells = [
            settle(
                replace(
                    case(),
                    teacher=picks,
                    options=EvaluateOptions(**TINY, labels="online", seeds=2, loss=loss),
                )
            )
            for loss in ("kl:temperature=4", "gift", "mse")
        ]
        assert results(*cells) == [results(cell)[0] for cell in cells]

    def test_mixed_images_have_mixed_labels(self):
        soft = with_arrays(easy_bundle(), soft=LabelMeta(space="logits"))
        for mix in ("cutmix", "mixup:alpha=0.4"):
            ((a, _),) = results(case(soft, labels="soft", mix=mix))
            assert a["loss"] > 0

    @pytest.mark.parametrize("batches", ["sum", "mean", "mix"])
    def test_views_with_the_same_loss_of_their_own_are_as_without(self, batches):
        plain = easy_bundle(6)
        boxes = views.grid(6, 8, 8, 0, n=2, r=0.75).boxes
        dense = np.random.default_rng(1).normal(size=(6, 4, 3)).astype(np.float32)
        bundle = with_arrays(
            plain, dense_labels=dense, dense_boxes=boxes, dense=LabelMeta(space="logits")
        )
        options = {
            "labels": "dense",
            "dense_batches": batches,
            "seeds": 1,
            "epochs": 3,
            "global_labels": "soft",
        }
        ((one,),) = results(case(bundle, **options))
        ((two,),) = results(case(bundle, **options, dense_loss="soft-ce"))
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)

    @pytest.mark.parametrize("whole", ["none", "hard", "soft"])
    def test_recorded_views_teach_students(self, whole):
        plain, generator = easy_bundle(30), np.random.default_rng(0)
        labels = np.eye(3, dtype=np.float32)[plain.hard_labels][:, None].repeat(2, 1) * 9
        bundle = with_arrays(
            plain,
            dense_labels=labels,
            dense_boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (30, 2, 1)),
            dense=LabelMeta(space="logits"),
            dense_mix=generator.integers(0, 30, (30, 2)),
            dense_mix_weight=np.ones((30, 2), np.float32),
        )
        ((result,),) = results(
            case(bundle, labels="dense", global_labels=whole, seeds=1, loss="gift")
        )
        assert result["accuracy"] == 1
        with pytest.raises(UsageError, match="blended across images"):
            case(bundle, labels="dense", select="val")

    def test_the_mean_over_views_is_their_sum_over_the_number(self):
        bundle = easy_bundle(6)
        boxes = views.grid(6, 8, 8, 0, n=2, r=0.75).boxes
        dense = np.random.default_rng(1).normal(size=(6, 4, 3)).astype(np.float32)
        bundle = with_arrays(
            bundle, dense_labels=dense, dense_boxes=boxes, dense=LabelMeta(space="logits")
        )
        data, logits = DeviceBundle.of(bundle, torch.device("cpu")), torch.randn(5, 3)
        target = data.hard_target(torch.arange(5))
        values = {
            batches: loss_for(EvaluateOptions(labels="dense", dense_batches=batches), data)(
                logits, target, 0
            )
            for batches in ("sum", "mean")
        }
        assert values["sum"] == 5 * values["mean"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"mix": "cutmix"}, "--mix cutmix"),
            ({"labels": "online"}, "--teacher"),
            ({"net": "convnet-d6"}, "poolings"),
            ({"net": "resnet"}, "did you mean 'resnet"),
            ({"loss": "cosin"}, "did you mean 'cosine'"),
            ({"labels": "soft", "loss": "nkd", "mix": "cutmix"}, "one class for each image"),
            ({"dense_loss": "ce"}, "--dense-loss"),
            ({"continual": 4}, "there are 3 classes"),
            ({"warm_up": 15.0}, "--warm-up"),
            ({"optimizer": "lion:lr=-1"}, "lr"),
            ({"optimizer": "adam:lr=nan"}, "expected a finite number"),
            ({"net": "resnet18", "batch_size": 29}, "cannot train on 1 images"),
        ],
    )
    def test_before_any_training(self, options, message):
        with pytest.raises((UsageError, IncompatibleError), match=message):
            case(**options)

    def test_a_loss_that_needs_logits_names_the_labels(self):
        probs = np.full((30, 3), 1 / 3, np.float32)
        bundle = with_arrays(easy_bundle(), soft_labels=probs, soft=LabelMeta(space="probs"))
        with pytest.raises(IncompatibleError, match="needs logits and the labels are probs"):
            case(bundle, labels="soft", loss="mse")

    def test_holding_out_needs_two_images_of_every_class(self):
        with pytest.raises(UsageError, match="single image"):
            case(easy_bundle(3), select="val")


class TestStatistics:
    def test_comparison_is_scipys_paired_t_test(self):
        a, b = [61.2, 60.1, 63.0, 59.9, 62.2], [58.0, 60.0, 59.1, 58.8, 60.3]
        ours, theirs = compare(a, b), stats.ttest_rel(a, b)
        assert ours.p_value == pytest.approx(theirs.pvalue)
        low, high = theirs.confidence_interval()
        assert ours.difference.mean == pytest.approx((low + high) / 2)
        assert ours.difference.interval == pytest.approx((high - low) / 2)

    def test_comparison_with_itself(self):
        same = compare([1.0, 2.0, 4.0], [1.0, 2.0, 4.0])
        assert (same.difference.mean, same.difference.interval, same.p_value) == (0, 0, 1)
        assert compare([2.0, 3.0], [1.0, 2.0]).p_value == 0
        assert compare([2.0], [1.0]).p_value is None

    def test_figures_by_hand(self):
        logits = torch.tensor(
            [[4.0, 0, 0, 0, 0, -1], [0, 3, 0, 0, 0, 0], [2, 0, 1, 0, 0, 0], [9, 8, 7, 6, 5, 4]]
        )
        hard = torch.tensor([0, 1, 2, 5])
        figures = student_figures(logits, hard)
        assert figures["accuracy"] == 0.5
        assert figures["top5"] == 0.75
        assert figures["class_accuracy"] == [1.0, 1.0, 0.0, None, None, 0.0]
        assert confusion(logits, hard)[2] == [1, 0, 0, 0, 0, 0]

    def test_calibration_error_by_hand(self):
        # Confidence 0.9 twice, once right; confidence 0.6 once, right: (2·|0.5 − 0.9| + 1·|1 − 0.6|)/3.
        probs = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4]])
        hits = torch.tensor([True, False, True])
        assert calibration_error(probs.log(), hits) == pytest.approx((2 * 0.4 + 0.4) / 3)

    def test_dd_rankings_squash(self):
        assert dd_ranking(1.0, 1.0) == pytest.approx(1.0)
        assert dd_ranking(-1.0, -1.0) == pytest.approx(0.0)
        assert dd_ranking(0.0, 0.0) == pytest.approx((1 - np.exp(-1)) / (np.e - np.exp(-1)))

    def test_scores_are_of_paired_fractions(self):
        each = {"own": [0.5, 0.6], "random": [0.4, 0.4], "real": [0.9, 0.9], "hard": [0.3, 0.4]}
        found = scores(each | {"plain": [0.3, 0.3], "random-plain": [0.3, 0.2]})
        assert found["IOR"].mean == pytest.approx(0.15)
        assert found["HLR"].mean == pytest.approx(0.55)
        first, second = (dd_ranking(0.1, -0.6), dd_ranking(0.2, -0.5))
        assert found["LRS"].mean == pytest.approx((first + second) / 2)
        assert found["ARS"].mean == pytest.approx((dd_ranking(0.1, 0.0) + dd_ranking(0.2, 0.1)) / 2)


class TestControls:
    def test_random_images_are_drawn_anew_for_each_seed_as_many_of_each_class(self):
        real, own = easy_bundle(90, seed=3), case(easy_bundle(7))
        (random,) = controls(own, real, "r", every=False)
        first, second = random.bundle(0), random.bundle(1)
        assert np.bincount(first.hard_labels).tolist() == [3, 2, 2]
        assert first.source_index.tolist() != second.source_index.tolist()
        assert key_of(random, 0)["role"] == "random"

    def test_random_images_are_labelled_as_the_bundle_is(self, expert):
        picks = [(expert, expert.step_of("last"))]
        boxes = views.grid(6, 8, 8, 0, n=2, r=0.75).boxes
        dense = np.zeros((30, 4, 3), np.float32)
        space = LabelMeta(space="logits", temperature=2.0)
        bundle = with_arrays(easy_bundle(), dense_labels=dense, dense_boxes=boxes, dense=space)
        options = EvaluateOptions(**TINY, labels="dense", seeds=1, control="random", compile="off")
        own = settle(replace(case(bundle), options=options, teacher=picks))
        (random,) = controls(own, easy_bundle(90, seed=3), "r", every=False)
        drawn = random.bundle(0)
        assert drawn.dense.meta.temperature == 2.0
        assert drawn.dense.values.shape == (30, 4, 3)
        assert drawn.soft is None

    def test_refined_labels_cannot_be_made_for_others(self):
        probs = np.full((30, 3), 1 / 3, np.float32)
        own = case(
            with_arrays(easy_bundle(), soft_labels=probs, soft=LabelMeta(space="probs")),
            labels="soft",
        )
        with pytest.raises(IncompatibleError, match="logits"):
            controls(own, easy_bundle(90), "r", every=False)

    def test_too_few_real_images(self):
        with pytest.raises(UsageError, match="fewer than the bundle's"):
            controls(case(easy_bundle(30)), easy_bundle(12), "r", every=False)


class TestCommand:
    @pytest.fixture
    def there(self, tmp_path: Path, monkeypatch) -> Path:
        monkeypatch.chdir(tmp_path)
        formats.write("few.safetensors", with_arrays(easy_bundle(9), soft_labels=None, soft=None))
        formats.write("soft.safetensors", easy_bundle(9))
        formats.write("test.safetensors", easy_bundle(30, seed=4))
        formats.write("real.safetensors", easy_bundle(60, seed=8))
        (tmp_path / "s.toml").write_text(
            'net = "convnet-d1:width=4"\nepochs = 2\naugment = "none"\nseeds = 2\ntest = "test.safetensors"\n'
        )
        return tmp_path

    def test_a_grid_is_trained_once_and_shown_by_two_axes(self, cli, there):
        words = [
            "evaluate",
            "soft.safetensors",
            "--config",
            "s.toml",
            "--out",
            "r.jsonl",
            "--loss",
            "ce,soft-ce",
        ]
        words += ["--optimizer", "sgd:lr=0.1,momentum=0.5,adam", "--optimizer", "lion"]
        done = cli(*words, "--json")
        cells = json.loads(done.out)["cells"]
        assert [(cell["loss"], cell["optimizer"]) for cell in cells] == [
            (loss, optimizer)
            for loss in ("ce", "soft-ce")
            for optimizer in ("sgd:lr=0.1,momentum=0.5", "adam", "lion")
        ]
        assert len(records(there / "r.jsonl")) == 12
        again = cli(*words, "--table", "loss,optimizer")
        assert b"12 of 12 students are in r.jsonl already" in again.err
        assert len(records(there / "r.jsonl")) == 12
        assert again.out.count(b"95 % interval") == 6
        table = again.err.decode()
        assert "optimizer \\ loss" in done.err.decode()
        assert "loss \\ optimizer" in table
        mean = np.mean([cell["percent"]["mean"] for cell in cells])
        assert f"{mean:.2f} ± " in table

    def test_a_student_that_diverged_is_named(self, cli, there):
        done = cli(
            "evaluate", "few.safetensors", "--config", "s.toml", "--optimizer", "sgd:lr=1e30,adam"
        )
        assert b"2 students, 2 diverged)" in done.out.splitlines()[0]
        assert b"diverged" not in done.out.splitlines()[1]
        assert b"*: some students diverged" in done.err.replace(b"\n", b" ")

    def test_a_protocol_presets_and_flags_override(self, cli, there):
        words = [
            "evaluate",
            "soft.safetensors",
            "--test",
            "test.safetensors",
            "--protocol",
            "label-worth",
        ]
        cli(
            *words,
            "--epochs",
            "2",
            "--seeds",
            "1",
            "--net",
            "convnet-d1:width=4",
            "--out",
            "r.jsonl",
        )
        (record,) = records(there / "r.jsonl")
        assert record["options"]["protocol"] == "label-worth"
        assert record["options"]["schedule"] == "step:every=0.25,factor=0.3"
        assert record["options"]["batch_size"] == 256
        assert record["protocol_overridden"] == {"epochs": 3000}

    def test_against_itself_and_against_hard_labels(self, cli, there):
        words = ["evaluate", "soft.safetensors", "--config", "s.toml", "--json"]
        (same,) = json.loads(cli(*words, "--against", "soft.safetensors").out)["cells"]
        assert (same["against"]["difference"]["mean"], same["against"]["p_value"]) == (0, 1)
        (other,) = json.loads(cli(*words, "--against", "few.safetensors").out)["cells"]
        assert other["against"]["labels"] == "hard"
        expected = [
            100 * (a - b)
            for a, b in zip(other["accuracies"], other["against"]["accuracies"], strict=True)
        ]
        assert other["against"]["difference"]["mean"] == pytest.approx(np.mean(expected))

    def test_a_protocols_options_for_views_do_not_count_without_them(self, cli, there):
        words = [
            "evaluate",
            "few.safetensors",
            "--test",
            "test.safetensors",
            "--net",
            "convnet-d1:width=4",
            "--seeds",
            "1",
        ]
        cli(*words, "--protocol", "ladd", "--labels", "hard", "--epochs", "1", "--out", "r.jsonl")
        (record,) = records(there / "r.jsonl")
        assert record["options"]["dense_batches"] == "mix"
        assert record["protocol_overridden"]["dense_batches"] == "sum"

    def test_a_table_says_what_it_averages_over(self, cli, there):
        words = [
            "evaluate",
            "soft.safetensors",
            "--config",
            "s.toml",
            "--loss",
            "soft-ce,js",
            "--mix",
            "none,mixup",
        ]
        done = cli(*words, "--optimizer", "sgd,adam", "--table", "loss,mix")
        assert b"averaged over optimizer" in done.err.replace(b"\n", b" ")
        assert (
            len({line.split(b":")[0] for line in done.out.replace(b":alpha", b"").splitlines()})
            == 8
        )

    def test_what_misleads_is_said(self, cli, there):
        assert (
            b"hard labels alone"
            in cli("evaluate", "soft.safetensors", "--config", "s.toml", "--loss", "ce").err
        )
        own = cli(
            "evaluate", "soft.safetensors", "--config", "s.toml", "--test", "soft.safetensors"
        )
        assert b"the test images are the training images" in own.err
        (there / "r.jsonl").write_text('{"result":{"accuracy":9.2,"loss":1}}\n')
        refused = cli(
            "evaluate", "soft.safetensors", "--config", "s.toml", "--out", "r.jsonl", code=3
        )
        assert b"r.jsonl, line 1: not a result" in refused.err

    def test_dd_rankings_scores(self, cli, there):
        words = [
            "evaluate",
            "few.safetensors",
            "--config",
            "s.toml",
            "--control",
            "scores",
            "--real",
            "real.safetensors",
        ]
        done = cli(*words, "--real-epochs", "3", "--json")
        (cell,) = json.loads(done.out)["cells"]
        assert list(cell["controls"]) == ["random", "hard", "real", "plain", "random-plain"]
        assert list(cell["scores"]) == ["IOR", "HLR", "LRS", "ARS"]
        assert 0 <= cell["scores"]["LRS"]["mean"] <= 1
        # The same labels under the same protocol: what is hard already is its own hard control.
        assert cell["controls"]["plain"]["accuracies"] == cell["accuracies"]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--control", "random"], "--control"),
            (["--table", "loss"], "expected an axis for rows and another"),
            (["--table", "loss,optimiser"], "did you mean 'optimizer'"),
            (["--protocol", "gifts"], "did you mean 'gift'"),
            (["--loss", "ce,ce"], "several different ones"),
            (["--teacher", "nowhere"], "no such expert run"),
            (["--ema", "1"], "--ema is 1"),
            (["--holdout", "0.3"], "--holdout"),
            (["--checks", "3", "--select", "last"], "--checks"),
            (["--real-epochs", "3"], "--real-epochs"),
            (["--teacher-epoch", "1"], "--teacher-epoch"),
        ],
    )
    def test_refusals(self, cli, there, words, message):
        code = 3 if "--teacher" in words else 2
        assert (
            message
            in cli(
                "evaluate", "few.safetensors", "--config", "s.toml", *words, code=code
            ).err.decode()
        )

    def test_protocols_stand_side_by_side(self, cli):
        text = cli("list", "protocols").out.decode()
        for name in (
            "datm",
            "edc",
            "gift",
            "label-worth",
            "ladd",
            "mtt",
            "rded",
            "sre2l",
            "torchvision-imagenet",
        ):
            assert name in text
        # Nothing is cut short.
        assert "…" not in text
