"""Which expert runs are made: their content, their checkpoints, and what is refused before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from experts import SMALL, train_small_expert
from samples import make_bundle

from ddlabel.commands.expert_plan import RealImages, checkpoint_steps, lr_factor_of, plan_runs
from ddlabel.core.config import TrainExpertOptions
from ddlabel.core.errors import IncompatibleError, OutputExistsError, UsageError
from ddlabel.data.bundle import Bundle

PROTOCOL = {"protocol": "torchvision-imagenet"}


def real_images(bundle: Bundle | None = None) -> RealImages:
    return RealImages.of_bundle(make_bundle(images=25) if bundle is None else bundle, "digest")


def small_options(**changes) -> TrainExpertOptions:
    return TrainExpertOptions(**SMALL | changes)


class TestContent:
    def test_a_run_is_described_by_the_images_and_the_options(self, tmp_path):
        real = real_images()
        ((folder, info),) = plan_runs(real, tmp_path / "run", small_options(epochs=2, seed=7))
        assert folder == tmp_path / "run"
        assert (info.channels, info.size, info.classes) == (1, 8, real.sample.classes)
        assert (info.mean, info.std) == ((0.5,), (0.25,))
        assert (info.seed, info.data, info.net) == (7, "digest", "convnet-d1:width=4")
        assert (info.steps_per_epoch, info.steps) == (3, 6)  # 25 images in batches of 10
        assert not folder.exists()

    def test_an_expert_can_normalise_otherwise_than_the_bundle_says(self, tmp_path):
        real = real_images()
        values = real.sample.images / 255
        means = {"none": 0, "mnist-mtt": 0.1307, "measured": values.mean()}
        stds = {"none": 1, "mnist-mtt": 0.3081, "measured": values.std()}
        for name in means:
            ((_, info),) = plan_runs(real, tmp_path / "run", small_options(normalise=name))
            assert (*info.mean, *info.std) == pytest.approx((means[name], stds[name]), abs=1e-6)
            assert info.options["normalise"] == name
        with pytest.raises(UsageError, match="3 channels, and the images have 1"):
            plan_runs(real, tmp_path / "run", small_options(normalise="imagenet"))

    def test_several_runs_have_successive_seeds_and_folders_of_their_own(self, tmp_path):
        planned = plan_runs(real_images(), tmp_path, small_options(experts=3, seed=5))
        assert [run.folder for run in planned] == [tmp_path / f"expert-{i}" for i in range(3)]
        assert [run.info.seed for run in planned] == [5, 6, 7]
        assert [run.info.options["experts"] for run in planned] == [1, 1, 1]


class TestCheckpoints:
    @pytest.mark.parametrize(
        ("save_every", "steps"),
        [
            (1, [10, 20, 30]),
            (0.5, [5, 10, 15, 20, 25, 30]),
            (0.25, [2, 5, 8, 10, 12, 15, 18, 20, 22, 25, 28, 30]),  # halves go to even numbers
            (2, [20, 30]),
            (7, [30]),
        ],
    )
    def test_steps_are_whole_and_the_last_is_always_saved(self, tmp_path, save_every, steps):
        real = real_images(make_bundle(images=100))
        ((_, info),) = plan_runs(real, tmp_path, small_options(epochs=3))
        assert checkpoint_steps(info, save_every) == steps

    def test_more_checkpoints_than_steps_are_one_a_step(self, tmp_path):
        ((_, info),) = plan_runs(real_images(), tmp_path, small_options(epochs=2))
        assert checkpoint_steps(info, 0.01) == [1, 2, 3, 4, 5, 6]


class TestRefusals:
    @pytest.mark.parametrize(
        "options",
        [
            {"net": "nothing"},
            {"optimizer": "sgd:lr=-1"},
            {"optimizer": "sdg"},
            {"schedule": "nothing"},
            {"augment": "dsa:crop-pad=-1"},
        ],
    )
    def test_specs_are_resolved_before_any_training(self, tmp_path, options):
        with pytest.raises(UsageError):
            plan_runs(real_images(), tmp_path / "run", small_options(**options))
        assert not (tmp_path / "run").exists()

    def test_a_file_is_no_folder_of_a_run(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(OutputExistsError, match="file"):
            plan_runs(real_images(), tmp_path / "file", small_options())

    def test_a_folder_with_other_things_is_left_alone(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(OutputExistsError):
            plan_runs(real_images(), tmp_path, small_options())


class TestRunsThatAreThere:
    @pytest.fixture
    def done(self, tmp_path) -> Path:
        return train_small_expert(make_bundle(images=25), tmp_path / "run").folder

    @pytest.fixture
    def same_images(self) -> RealImages:
        bundle = make_bundle(images=25)
        return RealImages.of_bundle(bundle, bundle.digest)

    def test_a_complete_run_is_not_made_again(self, done, same_images):
        with pytest.raises(OutputExistsError, match="run"):
            plan_runs(same_images, done, small_options())

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"seed": 1}, r"--seed 0 \(asked: 1\)"),
            ({"batch_size": 9}, r"--batch-size 10 \(asked: 9\)"),
            ({"optimizer": "adamw"}, "--optimizer .* .asked: adamw"),
        ],
    )
    def test_a_run_of_other_options_is_refused_with_both_values(
        self, done, same_images, changes, named
    ):
        with pytest.raises(IncompatibleError, match=named):
            plan_runs(same_images, done, small_options(**changes))

    def test_a_run_of_other_images_is_refused(self, done):
        with pytest.raises(IncompatibleError, match="other training images"):
            plan_runs(real_images(), done, small_options())

    def test_options_that_do_not_change_the_outcome_may_differ(self, done, same_images):
        with pytest.raises(OutputExistsError):  # it is the same run
            plan_runs(same_images, done, small_options(compile="auto", device="cpu"))


class TestTorchvisionProtocol:
    def test_it_is_torchvisions_recipe(self):
        (options,) = TrainExpertOptions.load("train-expert", None, PROTOCOL)
        assert (options.net, options.size) == ("torchvision-resnet18", 224)
        assert (options.epochs, options.batch_size) == (90, 256)
        real = real_images(make_bundle(images=2560, channels=3, size=40))
        ((_, info),) = plan_runs(real, Path("/nowhere"), replace(options, size=None))
        assert info.steps_per_epoch == 10
        factor = lr_factor_of(options, info)
        factors = [factor(10 * epoch) for epoch in (0, 29, 30, 59, 60, 89)]
        assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])

    def test_values_of_the_user_win(self):
        given = PROTOCOL | {"epochs": 3, "size": 64}
        (options,) = TrainExpertOptions.load("train-expert", None, given)
        assert (options.epochs, options.size, options.batch_size) == (3, 64, 256)
