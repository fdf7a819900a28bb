"""Codecs against their error bounds, other libraries and direct computation; compressed labels in every consumer."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from samples import TINY, make_bundle, with_arrays
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from ddlabel.commands.compress import compress, prune
from ddlabel.commands.edit import edit
from ddlabel.commands.evaluate.experiment import Experiment, settle
from ddlabel.commands.evaluate.grid import evaluate
from ddlabel.commands.refine import refine
from ddlabel.core.config import CompressOptions, EditOptions, EvaluateOptions, RefineOptions
from ddlabel.core.errors import IncompatibleError, InvalidInputError, UsageError
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.codecs import codecs
from ddlabel.data.labels import Labels
from ddlabel.data.schema import LabelMeta, Pixels
from ddlabel.methods.labels.pruning import prunings
from ddlabel.methods.labels.target import Target

LOGITS, PROBS = LabelMeta(space="logits", temperature=2.0), LabelMeta(space="probs")
SUFFIXES = (".safetensors", ".h5")
shapes = st.tuples(st.integers(1, 4), st.integers(1, 7))
logits = hnp.arrays(np.float32, shapes, elements=st.floats(-200, 200, width=32))


def coded(spec: str, values, label=LOGITS):
    """Values as a codec gives them back, and what it stored."""
    stored = codecs.resolve(spec)(np.asarray(values, np.float32), label)
    return stored.decode(), stored


def probs_of(values, label) -> np.ndarray:
    """Oracle of the distribution that labels stand for."""
    return (
        softmax(np.float64(values) / label.temperature, -1)
        if label.space == "logits"
        else np.float64(values)
    )


def dense_bundle(images: int = 6, views: int = 4, classes: int = 5, **changes) -> Bundle:
    """Soft and dense logits at temperature 2, of a grid."""
    dense = np.random.default_rng(1).normal(size=(images, views, classes)).astype(np.float32) * 3
    boxes = np.array([[0, i / 10, 0.5, 0.5 + i / 10] for i in range(views)], np.float32)
    plain = make_bundle(images=images, classes=classes)
    return with_arrays(
        plain, soft=LOGITS, dense_labels=dense, dense_boxes=boxes, dense=LOGITS, **changes
    )


class TestErrors:
    @given(logits)
    def test_float32_and_float16(self, values):
        assert np.array_equal(coded("float32", values)[0], values)
        assert np.all(
            np.abs(coded("float16", values)[0] - values)
            <= np.maximum(np.abs(values) * 2**-11, 2**-25)
        )

    @given(
        hnp.arrays(
            np.float32, shapes, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
        )
    )
    def test_bfloat16_is_torchs(self, values):
        expected = torch.from_numpy(values).bfloat16()
        if not expected.isfinite().all():
            with pytest.raises(IncompatibleError, match="bfloat16 ends"):
                coded("bfloat16", values)
            return
        found, stored = coded("bfloat16", values)
        assert np.array_equal(stored.values.view(np.int16), expected.view(torch.int16).numpy())
        assert np.array_equal(found, expected.float().numpy())
        normal = np.abs(values) > 1e-37
        assert np.all(
            np.abs(np.float64(found) - values)[normal] <= np.abs(np.float64(values))[normal] * 2**-8
        )

    @given(logits, st.floats(0.5, 20))
    def test_uint8_keeps_distances_to_the_largest(self, values, temperature):
        label = LabelMeta(space="logits", temperature=temperature)
        found, stored = coded("uint8", values, label)
        assert (stored.values.dtype, stored.meta) == (np.uint8, label)
        assert np.abs(found.mean(-1)).max() < 1e-3
        nats = [
            (each.max(-1, keepdims=True) - each) / temperature
            for each in np.float64([values, found])
        ]
        below = np.minimum(nats[0], 32)
        bound = np.sqrt(32 * below) / 255 + 0.0002
        assert np.all(np.abs(nats[1] - below) <= bound)
        inside = nats[0].max(-1) <= 32
        moved = log_softmax(found / temperature, -1) - log_softmax(
            np.float64(values) / temperature, -1
        )
        assert np.all((np.abs(moved) <= bound + bound.max(-1, keepdims=True))[inside])

    @given(logits)
    def test_uint8_of_probabilities_is_that_of_their_logits(self, values):
        probs = softmax(values, -1)
        found, stored = coded("uint8", probs, PROBS)
        assert stored.meta == PROBS
        np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
        of_logits, _ = coded("uint8", np.log(np.maximum(probs, 1e-30)), LabelMeta(space="logits"))
        np.testing.assert_allclose(found, softmax(of_logits, -1), atol=1e-6)

    def test_uint8_of_a_probability_of_0_is_e_to_the_minus_32(self):
        assert coded("uint8", [[0, 1, 0]], PROBS)[0][0].tolist() == pytest.approx(
            [math.exp(-32), 1, math.exp(-32)]
        )

    def test_uint8_by_hand(self):
        # 0, 8 and 32 nats below the largest at temperature 2: steps 255, 255·(1 − ½), rounded, and 0.
        found, stored = coded("uint8", [[70.0, 54.0, 6.0]])
        assert stored.values[0].tolist() == [255, 128, 0]
        middle = 2 * 32 * (127 / 255) ** 2
        expected = np.array([0, -middle, -64])
        assert found[0].tolist() == pytest.approx((expected - expected.mean()).tolist())

    @pytest.mark.parametrize("label", [LOGITS, PROBS])
    def test_coding_twice_is_coding_once(self, label):
        values = np.random.default_rng(0).normal(size=(50, 20)) * 9
        values = values if label is LOGITS else softmax(values, -1)
        for spec in ("float16", "bfloat16", "uint8", "top-k:k=4", "top-k:k=4,dtype=float16"):
            once, stored = coded(spec, values, label)
            again = coded(spec, once, stored.meta)[0]
            if label is PROBS and spec.endswith(
                "float16"
            ):  # their sum is made 1 after each rounding
                np.testing.assert_allclose(again, once, rtol=2**-7, atol=1e-6, err_msg=spec)
            else:
                np.testing.assert_array_equal(again, once, err_msg=spec)

    @given(logits, st.integers(1, 7), st.booleans())
    def test_top_k_is_the_largest_made_to_sum_to_1(self, values, k, of_probs):
        k, label = min(k, values.shape[1]), PROBS if of_probs else LOGITS
        values = softmax(values, -1) if of_probs else values
        probs = probs_of(values, label)
        for dtype, near in (("float32", 1e-5), ("float16", 1e-3), ("uint8", 0.13)):
            found, stored = coded(f"top-k:k={k},dtype={dtype}", values, label)
            assert (stored.values.shape[1], stored.index.dtype, stored.meta.space) == (
                k,
                np.uint8,
                "probs",
            )
            kept = np.zeros(probs.shape, bool)
            np.put_along_axis(kept, stored.index.astype(int), values=True, axis=1)
            assert np.all(kept.sum(1) == k)
            assert np.all(np.where(kept, probs, 1).min(1) >= np.where(kept, 0, probs).max(1) - 1e-6)
            expected = np.where(kept, probs, 0) / np.where(kept, probs, 0).sum(1, keepdims=True)
            np.testing.assert_allclose(found, expected, atol=near)
            assert np.all(found[~kept] == 0)

    @given(hnp.arrays(np.int64, (3, 4), elements=st.integers(0, 50)))
    def test_top_k_is_lossless_where_no_more_are_above_0(self, counts):
        counts[:, 0] += 1
        sparse = np.zeros((3, 9), np.float32)
        sparse[:, [1, 3, 4, 8]] = counts / counts.sum(1, keepdims=True)
        assert np.array_equal(coded("top-k:k=4,dtype=float32", sparse, PROBS)[0], sparse)

    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    def test_top_k_leaves_labels_without_their_full_mass_as_they_are(self, dtype):
        found, stored = coded(
            f"top-k:k=2,dtype={dtype}", [[0.5, 0.0, 0.25], [0, 0, 0]], LabelMeta(space="mass")
        )
        assert (found.tolist(), stored.meta.space) == ([[0.5, 0, 0.25], [0, 0, 0]], "mass")

    @pytest.mark.parametrize(
        ("classes", "dtype"), [(1, np.uint8), (256, np.uint8), (257, np.uint16)]
    )
    def test_more_than_256_classes_have_two_bytes(self, classes, dtype):
        values = np.random.default_rng(0).normal(size=(3, classes)).astype(np.float32)
        found, stored = coded("top-k:k=1", values)
        assert stored.index.dtype == dtype
        assert np.array_equal(found, np.eye(classes)[values.argmax(1)])

    @pytest.mark.parametrize("spec", ["float32", "float16", "bfloat16", "uint8", "top-k:k=1"])
    def test_one_class(self, spec):
        assert probs_of(coded(spec, [[3.0]])[0], LOGITS).tolist() == [[1.0]] or spec == "top-k:k=1"
        assert coded(spec, [[1.0]], PROBS)[0].tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("spec", "values", "label", "error", "message"),
    [
        ("float16", [[7e4, 0]], LOGITS, IncompatibleError, "65504"),
        (
            "uint8",
            [[1, 0]],
            LabelMeta(space="direction"),
            IncompatibleError,
            "the labels are direction",
        ),
        ("uint8", [[0.5, 0]], LabelMeta(space="mass"), IncompatibleError, "the labels are mass"),
        (
            "top-k:k=1",
            [[0.5, 0]],
            LabelMeta(space="mass"),
            IncompatibleError,
            "the labels are mass",
        ),
        (
            "top-k:k=1",
            [[1, 0]],
            LabelMeta(space="direction"),
            IncompatibleError,
            "the labels are direction",
        ),
        ("top-k:k=3", [[1, 0]], LOGITS, UsageError, "expected 1 to 2"),
        ("top-k:k=0", [[1, 0]], LOGITS, UsageError, "k is 0"),
    ],
)
def test_what_a_codec_cannot_store_is_refused(spec, values, label, error, message):
    with pytest.raises(error, match=message):
        coded(spec, values, label)


class TestFiles:
    @settings(deadline=None, max_examples=25)
    @given(
        values=hnp.arrays(np.float32, (3, 2, 5), elements=st.floats(-50, 50, width=32)),
        spec=st.sampled_from(
            ["float16", "bfloat16", "uint8", "top-k:k=2", "top-k:k=5,dtype=float16"]
        ),
        suffix=st.sampled_from(SUFFIXES),
    )
    def test_labels_come_back_from_a_file_as_they_were_decoded(
        self, tmp_path_factory, values, spec, suffix
    ):
        bundle = dense_bundle(images=3, views=2)
        made, _ = compress(with_arrays(bundle, dense_labels=values), CompressOptions(codec=spec))
        path = str(tmp_path_factory.mktemp("codecs") / f"x{suffix}")
        formats.write(path, made)
        read = formats.read(path)
        for field in ("soft", "dense"):
            assert np.array_equal(made.labels(field).decode(), read.labels(field).decode())
            assert made.labels(field).meta == read.labels(field).meta
        np.testing.assert_array_equal(read.labels("dense").decode(), coded(spec, values)[0])

    @pytest.mark.parametrize("index", [[[0, 0], [1, 2]], [[1, 2], [0, 3]]])
    def test_an_index_names_classes_once(self, index):
        bundle = make_bundle(images=2, classes=3)
        values = np.array([[0.5, 0.5], [1, 0]], np.float32)
        bad = with_arrays(
            bundle, soft=PROBS, soft_labels=values, soft_index=np.array(index, np.uint8)
        )
        with pytest.raises(
            InvalidInputError, match=r"soft_index, row [01]: expected (different )?classes"
        ):
            bad.check_values()

    @pytest.mark.parametrize("label", [LabelMeta(space="direction"), LabelMeta(space="mass")])
    def test_uint8_is_of_distributions(self, label):
        with pytest.raises(InvalidInputError, match="expected logits or probs"):
            with_arrays(make_bundle(), soft=label, soft_labels=np.zeros((12, 3), np.uint8))

    def test_an_index_is_of_probabilities_and_fits_its_labels(self):
        index = np.zeros((12, 1), np.uint8)
        with pytest.raises(InvalidInputError, match="expected probs or mass"):
            with_arrays(make_bundle(), soft_labels=np.ones((12, 1), np.float32), soft_index=index)
        with pytest.raises(InvalidInputError, match=r"soft_(labels|index) has"):
            with_arrays(make_bundle(), soft=PROBS, soft_index=index)


class TestConsumers:
    """Whatever reads a compressed bundle finds in it what a bundle of the decoded labels has."""

    @pytest.fixture(params=["float16", "bfloat16", "uint8", "top-k:k=2", "top-k:k=4,dtype=float16"])
    def pair(self, request) -> tuple[Bundle, Bundle]:
        made, _ = compress(dense_bundle(images=12), CompressOptions(codec=request.param))
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
        made, _ = compress(plain, CompressOptions(codec=codec))
        stored = replace(made.soft, meta=LabelMeta(space="direction")).decode()
        assert np.abs(stored.sum(1) - 1).max() > 1e-4
        edit(made, EditOptions(op=(op,))).check_values()
        compress(made, CompressOptions(codec="float32"))[0].check_values()
        compress(made, CompressOptions(codec="top-k:k=60,dtype=float32"))[0].check_values()

    @pytest.mark.parametrize("labels", ["soft", "dense"])
    def test_evaluate(self, pair, labels):
        options = EvaluateOptions(
            labels=labels,
            net="convnet-d1:width=4",
            epochs=2,
            seeds=1,
            augment="none",
            loss="kl",
            device="cpu",
        )
        cases = [
            Experiment(bundle=lambda _, b=b: b, test=b, options=options, digests={"b": str(i)})
            for i, b in enumerate(pair)
        ]
        first, second = [
            record["result"] for _, _, record in evaluate([settle(case) for case in cases], set())
        ]
        assert first == second

    @pytest.mark.parametrize("field", ["soft", "dense"])
    def test_refine(self, pair, field):
        made, plain = (refine(bundle, RefineOptions(field=field)) for bundle in pair)
        assert made.labels(field).index is None
        assert np.array_equal(made.labels(field).decode(), plain.labels(field).decode())
        made.check_values()

    def test_take_and_of_classes(self, pair):
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
        made, _ = compress(
            with_arrays(bundle, soft_labels=bundle.soft.values + 100),
            CompressOptions(codec="uint8"),
        )
        target = Target(
            hard=torch.zeros(50),
            values=torch.from_numpy(made.labels("soft").decode()),
            label=made.soft.meta,
        )
        np.testing.assert_allclose(
            target.logits, centred, atol=0.06
        )  # √(32·5)/255 and as much again for the mean
        made, _ = compress(bundle, CompressOptions(codec="top-k:k=3"))
        target = Target(
            hard=torch.zeros(50),
            values=torch.from_numpy(made.labels("soft").decode()),
            label=made.soft.meta,
        )
        with pytest.raises(IncompatibleError, match="needs logits and the labels are probs"):
            _ = target.logits


class TestCompress:
    def test_figures_by_hand_and_by_scipy(self):
        bundle = dense_bundle(images=8)
        made, found = compress(
            bundle, CompressOptions(codec="top-k:k=2,dtype=float16", field="dense")
        )
        # Of an image 4 views of 5 float32, and the eighth part of a grid of 4 boxes; then 2 float16 and 2 uint8 each.
        assert (found["before"], found["after"]) == (4 * 5 * 4 + 8, 4 * 2 * 3 + 8)
        assert found["share"] == found["after"] / 64
        p, q = softmax(np.float64(bundle.dense.values) / 2, -1), made.labels("dense").decode()
        assert found["js_distance"] == pytest.approx(jensenshannon(p, q, axis=-1).mean(), rel=1e-4)
        assert found["same_class"] == 1.0
        assert np.array_equal(made.soft.values, bundle.soft.values)

    def test_compressed_labels_are_decoded_first(self):
        once, _ = compress(dense_bundle(), CompressOptions(codec="top-k:k=2"))
        twice, found = compress(once, CompressOptions(codec="float32"))
        assert twice.soft.index is None
        assert np.array_equal(twice.labels("dense").decode(), once.labels("dense").decode())
        assert found["js_distance"] == 0

    def test_blocks_make_one_array(self):
        bundle = make_bundle(images=1203, classes=4)
        made, _ = compress(bundle, CompressOptions(codec="top-k:k=2"))
        assert np.array_equal(
            made.labels("soft").decode(),
            coded("top-k:k=2", bundle.soft.values, bundle.soft.meta)[0],
        )

    def test_directions_have_no_distance(self):
        bundle = refine(dense_bundle(), RefineOptions(space="logits"))
        made, found = compress(bundle, CompressOptions(codec="float16", field="soft"))
        assert (found["js_distance"], made.soft.meta.space) == (None, "direction")
        with pytest.raises(IncompatibleError, match="the labels are direction"):
            compress(bundle, CompressOptions())
        with pytest.raises(IncompatibleError, match="--budget compares distributions"):
            compress(bundle, CompressOptions(budget="50%"))

    @pytest.mark.parametrize("options", [{"field": "dense"}, {"prune": "random"}])
    def test_labels_that_are_not_there_are_named(self, options):
        with pytest.raises(IncompatibleError, match="no dense labels"):
            compress(make_bundle(), CompressOptions(**options))
        with pytest.raises(IncompatibleError, match="no soft labels"):
            compress(with_arrays(make_bundle(), soft_labels=None, soft=None), CompressOptions())


class TestBudget:
    def test_the_nearest_that_fits(self):
        # 64 bytes of pixels and 10 classes.
        bundle = make_bundle(images=40, classes=10, size=8)
        found = {
            share: compress(bundle, CompressOptions(budget=f"{share}%"))[1]
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
        assert compress(bundle, CompressOptions(budget="0.7%"))[1]["codec"] == "uint8"

    def test_of_equal_ones_the_smaller(self):
        bundle = make_bundle(images=9, classes=3)
        one_hot = with_arrays(
            bundle, soft=PROBS, soft_labels=np.eye(3, dtype=np.float32)[bundle.hard_labels]
        )
        assert (
            compress(one_hot, CompressOptions(budget="100%"))[1]["codec"] == "top-k:k=1,dtype=uint8"
        )

    def test_what_cannot_store_the_labels_is_left_out(self):
        bundle = make_bundle()
        mass = with_arrays(
            bundle, soft=LabelMeta(space="mass"), soft_labels=np.full((12, 3), 0.3, np.float32)
        )
        assert compress(mass, CompressOptions(budget="10%"))[1]["codec"] == "float16"

    def test_one_that_none_meets_names_the_least(self):
        bundle = dense_bundle()  # 4 · 2 bytes of labels and 64 / 6 of boxes, of 64
        with pytest.raises(
            UsageError, match=r"the least is 29.17 % .* top-k:k=1,dtype=uint8.*--prune"
        ):
            compress(bundle, CompressOptions(budget="20%", field="dense"))
        made, found = compress(bundle, CompressOptions(budget="29.17%", field="dense"))
        assert (found["codec"], made.dense.index.shape) == ("top-k:k=1,dtype=uint8", (6, 4, 1))

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"budget": "40"}, "--budget is '40'"),
            ({"budget": "-1%"}, "above 0"),
            ({"budget": "many%"}, "--budget"),
            ({"budget": "inf%"}, "--budget"),
        ],
    )
    def test_options_that_mean_nothing_are_refused(self, given, message):
        with pytest.raises(UsageError, match=message):
            CompressOptions(**given)


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
        made, _ = compress(
            with_arrays(plain, dense_boxes=boxes),
            CompressOptions(codec="top-k:k=2", prune="entropy:keep=1"),
        )
        entropies = entropy(softmax(np.float64(plain.dense.values) / 2, -1), axis=-1)
        rows = np.arange(1100)
        assert np.array_equal(made.views.boxes[:, 0], boxes[rows, entropies.argmin(1)])
        own = plain.dense.values[rows, entropies.argmin(1)]
        assert np.array_equal(made.dense.index[:, 0], np.argsort(-own, 1)[:, :2])

    def test_views_are_pruned_as_they_are_stored(self):
        small, _ = compress(dense_bundle(), CompressOptions(codec="top-k:k=2"))
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
        with pytest.raises(IncompatibleError, match="use random"):
            prune(mixed, "entropy:keep=2")
        made, _ = compress(mixed, CompressOptions(codec="uint8", prune="random:keep=2"))
        pairs = {tuple(column) for column in mixed.views.mix.T}
        assert {tuple(column) for column in made.views.mix.T} <= pairs
        assert made.views.mix_weight.shape == (6, 2)

    def test_directions_can_only_be_drawn(self):
        bundle = refine(dense_bundle(), RefineOptions(space="logits", field="dense"))
        assert prune(bundle, "random:keep=2").dense.values.shape == (6, 2, 5)
        with pytest.raises(IncompatibleError, match="use random"):
            prune(bundle, "entropy:keep=2")

    @pytest.mark.parametrize("name", prunings)
    @pytest.mark.parametrize("keep", [0, 5])
    def test_as_many_views_as_there_are(self, name, keep):
        with pytest.raises(UsageError, match="expected 1 to 4"):
            prune(dense_bundle(), f"{name}:keep={keep}")


def test_the_command_says_what_it_did(cli, digits):
    words = ["--expert", "expert", "--epoch", "last"]
    cli("densify", "few.safetensors", "dense.safetensors", *words, "--views", "grid:n=2,r=0.75")
    said = cli(
        "compress", "dense.safetensors", "small.h5", "--budget", "40%", "--prune", "random:keep=2"
    )
    # 4 views of 10 float32 and 64 / 20 bytes of boxes; then half the boxes, and 2 views in at most 24 bytes.
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
