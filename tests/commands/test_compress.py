"""`compress` with codecs and budgets, pruned views, and compressed labels in every command."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from label_samples import PROBS, coded, dense_bundle
from samples import TINY, make_bundle, with_arrays
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy

from ddlabel.commands.compress import compress_labels, prune
from ddlabel.commands.edit import edit_labels
from ddlabel.commands.evaluate.experiment import Experiment, settle
from ddlabel.commands.evaluate.grid import train_students
from ddlabel.commands.refine import refine_labels
from ddlabel.core.config import CompressOptions, EditOptions, EvaluateOptions, RefineOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Labels
from ddlabel.data.schema import LabelMeta, Pixels
from ddlabel.methods.labels.pruning import prunings
from ddlabel.methods.labels.target import Target

SUFFIXES = (".safetensors", ".h5")


@settings(deadline=None, max_examples=25)
@given(
    values=hnp.arrays(np.float32, (3, 2, 5), elements=st.floats(-50, 50, width=32)),
    spec=st.sampled_from(["float16", "bfloat16", "uint8", "top-k:k=2", "top-k:k=5,dtype=float16"]),
    suffix=st.sampled_from(SUFFIXES),
)
def test_labels_come_back_from_a_file_as_they_were_decoded(tmp_path_factory, values, spec, suffix):
    bundle = dense_bundle(images=3, views=2)
    made, _ = compress_labels(with_arrays(bundle, dense_labels=values), CompressOptions(codec=spec))
    path = str(tmp_path_factory.mktemp("codecs") / f"x{suffix}")
    formats.write(path, made)
    read = formats.read(path)
    for field in ("soft", "dense"):
        assert np.array_equal(made.labels(field).decode(), read.labels(field).decode())
        assert made.labels(field).meta == read.labels(field).meta
    np.testing.assert_array_equal(read.labels("dense").decode(), coded(spec, values)[0])


class TestConsumers:
    """Whatever reads a compressed bundle finds in it what a bundle of the decoded labels has."""

    @pytest.fixture(params=["float16", "bfloat16", "uint8", "top-k:k=2", "top-k:k=4,dtype=float16"])
    def pair(self, request) -> tuple[Bundle, Bundle]:
        made, _ = compress_labels(dense_bundle(images=12), CompressOptions(codec=request.param))
        plain = {
            field: Labels(values=made.labels(field).decode(), meta=made.labels(field).meta)
            for field in ("soft", "dense")
        }
        return made, replace(made, **plain)

    @pytest.mark.parametrize("codec", ["float16", "bfloat16"])
    @pytest.mark.parametrize("op", ["permute", "swap", "smooth", "top-k:k=3"])
    def test_rounded_probabilities_are_distributions_again(self, codec, op):
        labels = np.random.default_rng(0).dirichlet(np.full(60, 0.3), 200).astype(np.float32)
        plain = make_bundle(images=200, classes=60).with_labels(
            "soft", Labels(values=labels, meta=LabelMeta(space="probs"))
        )
        made, _ = compress_labels(plain, CompressOptions(codec=codec))
        stored = replace(made.soft, meta=LabelMeta(space="direction")).decode()
        assert np.abs(stored.sum(1) - 1).max() > 1e-4
        edit_labels(made, EditOptions(op=(op,))).check_values()
        compress_labels(made, CompressOptions(codec="float32"))[0].check_values()
        compress_labels(made, CompressOptions(codec="top-k:k=60,dtype=float32"))[0].check_values()

    @pytest.mark.parametrize("labels", ["soft", "dense"])
    def test_students_of_compressed_labels_are_those_of_decoded_labels(self, pair, labels):
        options = EvaluateOptions(
            labels=labels,
            net="convnet-d1:width=4",
            epochs=2,
            seeds=1,
            augment="none",
            loss="kl",
            device="cpu",
            precision="fp32",
        )
        experiments = []
        for number, bundle in enumerate(pair):
            digests = {"bundle": str(number)}
            unsettled = Experiment.of(bundle, test=bundle, options=options, digests=digests)
            experiments.append(settle(unsettled))
        first, second = train_students(experiments)
        assert first.record.result == second.record.result

    @pytest.mark.parametrize("field", ["soft", "dense"])
    def test_refined_labels_are_those_of_decoded_labels(self, pair, field):
        made, plain = (refine_labels(bundle, RefineOptions(field=field)) for bundle in pair)
        assert made.labels(field).index is None
        assert np.array_equal(made.labels(field).decode(), plain.labels(field).decode())
        made.check_values()

    def test_rows_and_classes_are_those_of_decoded_labels(self, pair):
        made, plain = pair
        rows = np.array([5, 0, 7])
        assert np.array_equal(
            made.take(rows).labels("dense").decode(), plain.labels("dense").decode()[rows]
        )
        made, plain = (bundle.of_classes([3, 1]) for bundle in pair)
        made.check_values()
        for field in ("soft", "dense"):
            assert np.array_equal(made.labels(field).decode(), plain.labels(field).decode())

    def test_new_labels_have_no_old_index(self, cli, digits):
        words = ["--expert", "expert", "--epoch", "last"]
        cli("relabel", "few.safetensors", "soft.safetensors", *words)
        cli("compress", "soft.safetensors", "small.safetensors", "--codec", "top-k:k=2")
        cli("relabel", "small.safetensors", "again.safetensors", *words)
        cli(
            "densify",
            "small.safetensors",
            "dense.safetensors",
            *words,
            "--views",
            "grid:n=2,r=0.75",
        )
        assert formats.read("small.safetensors").soft.index.shape == (20, 2)
        assert np.array_equal(
            formats.read("again.safetensors").soft.values,
            formats.read("soft.safetensors").soft.values,
        )
        assert formats.read("again.safetensors").soft.index is None
        assert formats.read("dense.safetensors").soft.index.shape == (20, 2)

    def test_losses_of_logits_see_them_with_the_mean_0(self):
        bundle = make_bundle(images=50, classes=10)
        centred = bundle.soft.values - bundle.soft.values.mean(1, keepdims=True)
        made, _ = compress_labels(
            with_arrays(bundle, soft_labels=bundle.soft.values + 100),
            CompressOptions(codec="uint8"),
        )
        target = Target(
            hard=torch.zeros(50),
            values=torch.from_numpy(made.labels("soft").decode()),
            meta=made.soft.meta,
        )
        np.testing.assert_allclose(
            target.logits, centred, atol=0.06
        )  # √(32·5)/255 and as much again for the mean
        made, _ = compress_labels(bundle, CompressOptions(codec="top-k:k=3"))
        target = Target(
            hard=torch.zeros(50),
            values=torch.from_numpy(made.labels("soft").decode()),
            meta=made.soft.meta,
        )
        with pytest.raises(IncompatibleError, match="probs"):
            _ = target.logits


class TestCompress:
    def test_figures_are_those_worked_by_hand_and_those_of_scipy(self):
        bundle = dense_bundle(images=8)
        made, found = compress_labels(
            bundle, CompressOptions(codec="top-k:k=2,dtype=float16", field="dense")
        )
        # Before: 4 views of 5 float32, and an eighth of a grid of 4 boxes for each of 8 images.
        # After: 2 float16 and 2 uint8 for each view.
        assert (found["before"], found["after"]) == (4 * 5 * 4 + 8, 4 * 2 * 3 + 8)
        assert found["share"] == found["after"] / 64
        p, q = softmax(np.float64(bundle.dense.values) / 2, -1), made.labels("dense").decode()
        assert found["js_distance"] == pytest.approx(jensenshannon(p, q, axis=-1).mean(), rel=1e-4)
        assert found["same_class"] == 1.0
        assert np.array_equal(made.soft.values, bundle.soft.values)

    def test_compressed_labels_are_decoded_first(self):
        once, _ = compress_labels(dense_bundle(), CompressOptions(codec="top-k:k=2"))
        twice, found = compress_labels(once, CompressOptions(codec="float32"))
        assert twice.soft.index is None
        assert np.array_equal(twice.labels("dense").decode(), once.labels("dense").decode())
        assert found["js_distance"] == 0

    def test_blocks_make_one_array(self):
        bundle = make_bundle(images=1203, classes=4)
        made, _ = compress_labels(bundle, CompressOptions(codec="top-k:k=2"))
        assert np.array_equal(
            made.labels("soft").decode(),
            coded("top-k:k=2", bundle.soft.values, bundle.soft.meta)[0],
        )

    def test_directions_have_no_distance(self):
        bundle = refine_labels(dense_bundle(), RefineOptions(space="logits"))
        made, found = compress_labels(bundle, CompressOptions(codec="float16", field="soft"))
        assert (found["js_distance"], made.soft.meta.space) == (None, "direction")
        with pytest.raises(IncompatibleError, match="direction"):
            compress_labels(bundle, CompressOptions())
        with pytest.raises(IncompatibleError, match="--budget"):
            compress_labels(bundle, CompressOptions(budget="50%"))

    @pytest.mark.parametrize("options", [{"field": "dense"}, {"prune": "random"}])
    def test_labels_that_are_not_there_are_named(self, options):
        with pytest.raises(IncompatibleError, match="dense"):
            compress_labels(make_bundle(), CompressOptions(**options))
        with pytest.raises(IncompatibleError, match="soft"):
            compress_labels(
                with_arrays(make_bundle(), soft_labels=None, soft=None), CompressOptions()
            )


class TestBudget:
    def test_the_codec_nearest_to_the_labels_that_fits_is_taken(self):
        # 64 bytes of pixels and 10 classes.
        bundle = make_bundle(images=40, classes=10, size=8)
        found = {
            share: compress_labels(bundle, CompressOptions(budget=f"{share}%"))[1]
            for share in (100, 32, 16, 15, 4)
        }
        assert [each["codec"] for each in found.values()] == [
            "float32",  # 40 bytes
            "float16",  # 20
            "uint8",  # 10
            "top-k:k=3,dtype=float16",  # 9
            "top-k:k=1,dtype=uint8",  # 2
        ]
        assert all(100 * each["share"] <= share for share, each in found.items())
        distances = [each["js_distance"] for each in found.values()]
        assert distances == sorted(distances)

    def test_a_share_is_met_exactly(self):
        bundle = make_bundle(images=20, classes=7, size=10)  # uint8 is 7 of 1000 bytes
        bundle = replace(
            bundle,
            images=np.zeros((20, 10, 10, 10), np.uint8),
            pixels=Pixels(space="uint8", mean=(0.5,) * 10, std=(1.0,) * 10),
        )
        assert compress_labels(bundle, CompressOptions(budget="0.7%"))[1]["codec"] == "uint8"

    def test_of_codecs_that_are_equally_near_the_smaller_is_taken(self):
        bundle = make_bundle(images=9, classes=3)
        one_hot = with_arrays(
            bundle, soft=PROBS, soft_labels=np.eye(3, dtype=np.float32)[bundle.hard_labels]
        )
        assert (
            compress_labels(one_hot, CompressOptions(budget="100%"))[1]["codec"]
            == "top-k:k=1,dtype=uint8"
        )

    def test_codecs_that_cannot_store_the_labels_are_left_out(self):
        bundle = make_bundle()
        mass = with_arrays(
            bundle, soft=LabelMeta(space="mass"), soft_labels=np.full((12, 3), 0.3, np.float32)
        )
        assert compress_labels(mass, CompressOptions(budget="10%"))[1]["codec"] == "float16"

    def test_a_budget_that_no_codec_meets_is_refused_with_the_least_share(self):
        bundle = dense_bundle()  # 4 · 2 bytes of labels and 64 / 6 of boxes, of 64
        with pytest.raises(UsageError, match=r"29\.17 .*top-k:k=1,dtype=uint8"):
            compress_labels(bundle, CompressOptions(budget="20%", field="dense"))
        made, found = compress_labels(bundle, CompressOptions(budget="29.17%", field="dense"))
        assert (found["codec"], made.dense.index.shape) == ("top-k:k=1,dtype=uint8", (6, 4, 1))

    @pytest.mark.parametrize("budget", ["40", "-1%", "0%", "many%", "inf%"])
    def test_a_budget_that_is_no_share_is_refused(self, budget):
        with pytest.raises(UsageError, match="--budget"):
            CompressOptions(budget=budget)


class TestPrune:
    def test_random_keeps_one_grid(self):
        bundle = dense_bundle(views=5, dense_flip=np.arange(30, dtype=np.uint8).reshape(6, 5) % 2)
        kept = prune(bundle, "random:keep=3,seed=1")
        assert kept.views.boxes.shape == (3, 4)
        numbers = [
            next(i for i, box in enumerate(bundle.views.boxes) if (box == own).all())
            for own in kept.views.boxes
        ]
        assert numbers == sorted(set(numbers))
        for name in ("dense_labels", "dense_flip"):
            assert np.array_equal(kept.arrays[name], bundle.arrays[name][:, numbers])
        draws = {
            prune(bundle, f"random:keep=3,seed={seed}").views.boxes.tobytes() for seed in range(9)
        }
        assert len(draws) > 1

    @pytest.mark.parametrize("order", ["lowest", "highest"])
    @pytest.mark.parametrize("name", ["entropy", "disagreement"])
    def test_labels_choose_views_of_each_image(self, name, order):
        bundle = dense_bundle(views=5)
        kept = prune(bundle, f"{name}:keep=2,order={order}")
        probs = softmax(np.float64(bundle.dense.values) / 2, -1)
        mean = np.broadcast_to(probs.mean(1, keepdims=True), probs.shape)
        scores = (
            entropy(probs, axis=-1) if name == "entropy" else jensenshannon(probs, mean, axis=-1)
        )
        ranked = np.argsort(scores if order == "lowest" else -scores, axis=1)
        chosen = np.sort(ranked[:, :2], axis=1)
        assert len(np.unique(chosen, axis=0)) > 1
        assert np.array_equal(kept.views.boxes, bundle.views.boxes[chosen])
        assert np.array_equal(
            kept.dense.values, np.take_along_axis(bundle.dense.values, chosen[..., None], 1)
        )

    def test_boxes_of_each_image_stay_with_their_labels(self):
        plain = dense_bundle(images=1100, views=3)
        boxes = (
            np.tile(plain.views.boxes, (1100, 1, 1))
            * np.linspace(0.5, 1, 1100, dtype=np.float32)[:, None, None]
        )
        made, _ = compress_labels(
            with_arrays(plain, dense_boxes=boxes),
            CompressOptions(codec="top-k:k=2", prune="entropy:keep=1"),
        )
        entropies = entropy(softmax(np.float64(plain.dense.values) / 2, -1), axis=-1)
        rows = np.arange(1100)
        assert np.array_equal(made.views.boxes[:, 0], boxes[rows, entropies.argmin(1)])
        own = plain.dense.values[rows, entropies.argmin(1)]
        assert np.array_equal(made.dense.index[:, 0], np.argsort(-own, 1)[:, :2])

    def test_views_are_pruned_as_they_are_stored(self):
        small, _ = compress_labels(dense_bundle(), CompressOptions(codec="top-k:k=2"))
        kept = prune(small, "entropy:keep=4")  # all of them: the grid stays one
        assert np.array_equal(kept.dense.values, small.dense.values)
        assert np.array_equal(kept.dense.index, small.dense.index)
        assert np.array_equal(kept.views.boxes, small.views.boxes)

    def test_blended_views_keep_their_partners(self):
        shape = (6, 4)
        mixed = dense_bundle(
            dense_mix=np.arange(24).reshape(shape) % 6,
            dense_mix_weight=np.linspace(0, 1, 24, dtype=np.float32).reshape(shape),
        )
        with pytest.raises(IncompatibleError, match="--prune"):
            prune(mixed, "entropy:keep=2")
        made, _ = compress_labels(mixed, CompressOptions(codec="uint8", prune="random:keep=2"))
        pairs = {tuple(column) for column in mixed.views.mix.T}
        assert {tuple(column) for column in made.views.mix.T} <= pairs
        assert made.views.mix_weight.shape == (6, 2)

    def test_directions_can_only_be_drawn(self):
        bundle = refine_labels(dense_bundle(), RefineOptions(space="logits", field="dense"))
        assert prune(bundle, "random:keep=2").dense.values.shape == (6, 2, 5)
        with pytest.raises(IncompatibleError, match="direction"):
            prune(bundle, "entropy:keep=2")

    @pytest.mark.parametrize("name", prunings)
    @pytest.mark.parametrize("keep", [0, 5])
    def test_fewer_than_one_view_and_more_than_there_are_are_refused(self, name, keep):
        with pytest.raises(UsageError, match="keep"):
            prune(dense_bundle(), f"{name}:keep={keep}")


def test_the_command_says_what_it_did(cli, digits):
    words = ["--expert", "expert", "--epoch", "last"]
    cli("densify", "few.safetensors", "dense.safetensors", *words, "--views", "grid:n=2,r=0.75")
    said = cli(
        "compress", "dense.safetensors", "small.h5", "--budget", "40%", "--prune", "random:keep=2"
    )
    # 4 views of 10 float32 and 64 / 20 bytes of boxes: 163.2 bytes an image before.
    assert b"163 \xe2\x86\x92 " in said.err
    assert b"% keep their largest class" in said.err
    small = formats.read("small.h5")
    assert small.views.boxes.shape == (2, 4)
    assert small.history[-1].options == {
        "codec": None,
        "budget": "40%",
        "field": "all",
        "prune": "random:keep=2",
    }
    cli("evaluate", "small.h5", "--test", "test.safetensors", *TINY, "--seeds", 1)
    cli(
        "compress",
        "dense.safetensors",
        "x.safetensors",
        "--codec",
        "uint8",
        "--budget",
        "1%",
        code=2,
    )
