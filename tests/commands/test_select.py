"""Selectors, against deciles, loops and patches written out by hand."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import cpu_runtime
from samples import make_bundle
from scipy.special import log_softmax
from torch import nn

from ddlabel.commands.select import select, selectors
from ddlabel.core import rng
from ddlabel.core.config import SelectOptions
from ddlabel.core.errors import UsageError
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertInfo, ExpertRun
from ddlabel.data.schema import Pixels
from ddlabel.methods.labels import views
from ddlabel.training.labeler import network_of


class Experts:
    """Bodies as a Labeler has them, without runs; counts the images it is asked about."""

    def __init__(self, *bodies):
        self.bodies = [body.eval() for body in bodies]
        self.experts = [(nn.Identity(), body) for body in bodies]
        self.runtime = cpu_runtime()
        self.asked = 0

    @torch.no_grad()
    def __call__(self, images):
        self.asked += len(images)
        return torch.stack([body(images) for body in self.bodies]).mean(0)


class Brightness(nn.Module):
    """Two classes: logit of the first is `scale` × the mean pixel, of the second its negative."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, images):
        mean = self.scale * (images.double().mean((1, 2, 3)) - 0.5)
        return torch.stack([mean, -mean], 1).float()


def grey(count: int) -> Bundle:
    """Images of two classes in turn, each image of one brightness, which shuffled rows have all different."""
    levels = np.random.default_rng(5).permutation(count).astype(np.float32) / count
    images = np.broadcast_to(levels[:, None, None, None], (count, 1, 4, 4)).copy()
    pixels = Pixels(space="unit", mean=(0.5,), std=(0.25,))
    return replace(make_bundle(count, classes=2, size=4), images=images, pixels=pixels)


def easiest_first(bundle: Bundle) -> list[np.ndarray]:
    """Rows of each class of `grey`: the first is easy where it is bright, the second where it is dark."""
    levels = bundle.images[:, 0, 0, 0]
    first, second = (np.flatnonzero(bundle.hard_labels == number) for number in range(2))
    return [first[np.argsort(-levels[first])], second[np.argsort(levels[second])]]


def chosen(spec: str, bundle: Bundle, experts: Experts, **options) -> list[np.ndarray]:
    """Rows that a selector takes of each class, in its order."""
    taken = selectors.resolve(spec)(bundle, SelectOptions(**options), experts=experts)
    assert (np.diff(taken.hard_labels) >= 0).all()
    return [
        taken.source_index[taken.hard_labels == number] for number in range(len(bundle.classes))
    ]


def body(seed: int = 0, inputs: int = 64, classes: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 6), nn.ReLU(), nn.Linear(6, classes))


def features(bundle: Bundle, net: nn.Module) -> np.ndarray:
    weight, bias = (p.detach().double().numpy() for p in net[1].parameters())
    return np.maximum((bundle.images / 255.0).reshape(len(bundle), -1) @ weight.T + bias, 0)


class TestRandom:
    def test_the_draw_is_the_classs_own_stream(self, bundle):
        taken = select(bundle, SelectOptions(ipc=2, seed=3))
        rows = [np.flatnonzero(bundle.hard_labels == number) for number in range(3)]
        draws = [
            np.random.default_rng(rng.stream(3, "select", number)).permutation(4)[:2]
            for number in range(3)
        ]
        expected = np.concatenate([each[draw] for each, draw in zip(rows, draws, strict=True)])
        assert taken.source_index.tolist() == expected.tolist()
        assert taken.hard_labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert (taken.images == bundle.images[expected]).all()

    def test_a_smaller_ipc_is_a_part_of_a_larger_one(self, bundle):
        few, more = (
            select(bundle, SelectOptions(ipc=ipc)).source_index.reshape(3, ipc) for ipc in (2, 4)
        )
        assert (few == more[:, :2]).all()


class TestCrossEntropy:
    @pytest.mark.parametrize(
        ("spec", "decile"), [("", 1), (":rank=hardest", 10), (":decile=3", 3), (":decile=10", 10)]
    )
    def test_a_decile_is_a_tenth_of_the_class_by_rank(self, spec, decile):
        bundle, experts = grey(80), Experts(Brightness(3))
        for rows, ranked in zip(
            chosen(f"cross-entropy{spec}", bundle, experts, ipc=4),
            easiest_first(bundle),
            strict=True,
        ):
            assert set(rows) == set(ranked[4 * (decile - 1) : 4 * decile])
        assert experts.asked == 80

    def test_fewer_than_a_decile_are_drawn_at_random_in_it(self):
        bundle = grey(1200)
        ranked, _ = easiest_first(bundle)
        draws = [
            chosen("cross-entropy", bundle, Experts(Brightness(3)), ipc=5, seed=seed)[0]
            for seed in range(20)
        ]
        assert set(np.concatenate(draws)) <= set(ranked[:60])
        assert len(set(np.concatenate(draws))) > 40
        assert len({tuple(sorted(draw)) for draw in draws}) > 10

    @pytest.mark.parametrize(
        ("spec", "ranks"),
        [
            ("", range(7)),
            (":rank=hardest", range(33, 40)),
            (":decile=3", range(6, 13)),
            (":decile=2", range(2, 9)),
            (":decile=9", range(30, 37)),
        ],
    )
    def test_too_small_a_decile_is_filled_from_its_neighbours(self, spec, ranks):
        bundle = grey(80)
        rows, _ = chosen(f"cross-entropy{spec}", bundle, Experts(Brightness(3)), ipc=7)
        assert set(rows) == set(easiest_first(bundle)[0][list(ranks)])

    @pytest.mark.parametrize(
        ("count", "ipc"), [(80, 10), (80, 25), (80, 3), (46, 13), (46, 23), (14, 7)]
    )
    def test_stratified_takes_as_many_of_each_decile_as_it_has(self, count, ipc):
        bundle = grey(count)
        ranked = easiest_first(bundle)[1]
        rows = chosen("cross-entropy:rank=stratified", bundle, Experts(Brightness(3)), ipc=ipc)[1]
        assert len(set(rows)) == ipc
        ends = len(ranked) * np.arange(11) // 10
        rank_of = {row: rank for rank, row in enumerate(ranked)}
        taken, sizes = np.histogram([rank_of[row] for row in rows], ends - 0.5)[0], np.diff(ends)
        # One decile may only have fewer than another by more than one when it has no more to give.
        assert all(
            few >= taken.max() - 1 or few == size for few, size in zip(taken, sizes, strict=True)
        )

    def test_what_does_not_divide_goes_to_deciles_at_random(self):
        bundle = grey(80)
        ranks = {row: rank for rank, row in enumerate(easiest_first(bundle)[0])}
        spec, experts = "cross-entropy:rank=stratified", Experts(Brightness(3))
        rows = [chosen(spec, bundle, experts, ipc=1, seed=seed)[0][0] for seed in range(30)]
        assert len({ranks[row] // 4 for row in rows}) > 5

    def test_images_that_an_expert_is_sure_of_keep_their_order(self):
        # Margins of 20 to 30: in float32 the cross-entropy of every one of them is 0.
        bundle = grey(80)
        sign = np.where(bundle.hard_labels == 0, 1, -1)[:, None, None, None]
        bundle = replace(
            bundle, images=(0.5 + sign * (0.2 + 0.1 * bundle.images)).astype(np.float32)
        )
        rows = chosen("cross-entropy", bundle, Experts(Brightness(50)), ipc=4)
        levels = np.abs(bundle.images[:, 0, 0, 0] - 0.5)
        for number, each in enumerate(rows):
            own = np.flatnonzero(bundle.hard_labels == number)
            assert set(each) == set(own[np.argsort(-levels[own])][:4])

    def test_experts_are_asked_as_they_are_tested(self, tmp_path):
        """Two runs with batch norm, in evaluation mode: mean of logits, then the cross-entropy of a softmax."""
        bundle = make_bundle(60)
        runs = [make_run(tmp_path / str(seed), seed) for seed in range(2)]
        unit = torch.from_numpy(bundle.images).float() / 255
        logits = []
        for run in runs:
            network = network_of(run.about).eval()
            network.body.load_state_dict(
                {k: torch.from_numpy(v) for k, v in run.weights(1).items()}
            )
            logits.append(network(unit).detach().double().numpy())
        loss = -log_softmax(np.mean(logits, 0), axis=1)[np.arange(60), bundle.hard_labels]
        taken = select(
            bundle, SelectOptions(ipc=2, method="cross-entropy"), [(run, 1) for run in runs]
        )
        for number in range(3):
            own = np.flatnonzero(bundle.hard_labels == number)
            rows = taken.source_index[taken.hard_labels == number]
            assert set(rows) == set(own[np.argsort(loss[own])][:2])


def make_run(folder, seed: int) -> ExpertRun:
    """An expert of one convolution with batch norm whose running statistics are not a batch's."""
    about = ExpertInfo(
        net="convnet-d1:width=4,norm=batch",
        classes=("class 0", "class 1", "class 2"),
        channels=1,
        size=8,
        mean=(0.5,),
        std=(0.25,),
        zca=False,
        seed=seed,
        steps_per_epoch=1,
        steps=1,
        data="",
        options={},
    )
    run = ExpertRun.create(folder, about)
    weights = {name: value.numpy() for name, value in network_of(about).body.state_dict().items()}
    weights["1.running_mean"] = np.random.default_rng(seed).normal(size=4).astype(np.float32)
    run.save_metrics([{"step": 1, "epoch": 1, "sha256": run.save_weights(1, weights)}])
    return run


class TestKCenter:
    def test_each_is_the_farthest_from_those_before_it(self):
        bundle, nets = make_bundle(36), [body(0), body(1)]
        rows = chosen("k-center", bundle, Experts(*nets), ipc=5)
        points = np.concatenate([features(bundle, net) for net in nets], 1)
        for number in range(3):
            own = np.flatnonzero(bundle.hard_labels == number)
            far = np.linalg.norm(points[own, None] - points[own], axis=2)
            expected = [int(np.linalg.norm(points[own] - points[own].mean(0), axis=1).argmin())]
            for _ in range(4):
                expected.append(
                    max(range(len(own)), key=lambda i: min(far[i, j] for j in expected))
                )
            assert rows[number].tolist() == own[expected].tolist()

    def test_its_radius_is_at_most_twice_the_best_of_all(self):
        bundle = make_bundle(30)
        points = features(bundle, body())
        for number, rows in enumerate(chosen("k-center", bundle, Experts(body()), ipc=3)):
            own = np.flatnonzero(bundle.hard_labels == number)
            far = np.linalg.norm(points[own, None] - points[own], axis=2)
            best = min(far[:, list(three)].min(1).max() for three in combinations(range(10), 3))
            assert best <= far[:, np.searchsorted(own, rows)].min(1).max() <= 2 * best

    def test_doubles_do_not_take_an_image_twice(self):
        bundle = make_bundle(12)
        same = replace(bundle, images=np.repeat(bundle.images[:1], 12, 0))
        assert all(len(set(rows)) == 4 for rows in chosen("k-center", same, Experts(body()), ipc=4))


def test_herding_brings_the_mean_of_the_chosen_nearest_to_the_classs():
    bundle = make_bundle(1530)
    points = features(bundle, body())
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    for number, rows in enumerate(chosen("herding", bundle, Experts(body()), ipc=6)):
        own = np.flatnonzero(bundle.hard_labels == number)
        mean, expected = points[own].mean(0), []
        for _ in range(6):
            left = [row for row in own if row not in expected]
            expected.append(
                min(left, key=lambda row: np.linalg.norm(points[[*expected, row]].mean(0) - mean))
            )
        assert rows.tolist() == expected


@pytest.mark.parametrize(
    "spec", ["k-center", "herding", "cross-entropy", "cross-entropy:rank=stratified"]
)
def test_a_smaller_ipc_is_a_part_of_a_larger_one(spec):
    bundle = make_bundle(150)
    few, more = (chosen(spec, bundle, Experts(body()), ipc=ipc) for ipc in (2, 5))
    assert [rows.tolist() for rows in few] == [rows[:2].tolist() for rows in more]


class TestRDED:
    def test_whole_images_are_stitched_the_best_of_each_quarter_first(self):
        bundle, net = make_bundle(1200), body()
        with torch.no_grad():
            logits = net(torch.from_numpy(bundle.images).float() / 255).double().numpy()
        loss = -log_softmax(logits, axis=1)[np.arange(1200), bundle.hard_labels]
        made = selectors.resolve("rded:low=1,crops=1")(
            bundle, SelectOptions(ipc=2), experts=Experts(net)
        )
        halves = bundle.images.astype(float).reshape(-1, 1, 4, 2, 4, 2).mean((3, 5))
        for number in range(3):
            own = np.flatnonzero(bundle.hard_labels == number)
            best = own[np.argsort(loss[own])][:8]
            for place in range(2):
                a, b, c, d = halves[best[place::2]]
                expected = np.concatenate([np.concatenate([a, b], 2), np.concatenate([c, d], 2)], 1)
                # A quarter of a sum is halfway between two bytes at times, and may be rounded to either.
                assert np.abs(made.images[2 * number + place] - expected).max() <= 0.5
        assert (made.images.dtype, made.images.shape) == (np.uint8, (6, 1, 8, 8))
        assert made.hard_labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert set(made.arrays) == {"images", "hard_labels"}

    def test_of_each_image_the_crop_that_the_expert_finds_easiest_is_kept(self, monkeypatch):
        noise = np.random.default_rng(0).random((4, 1, 12, 12), np.float32)
        pixels = Pixels(space="unit", mean=(0.5,), std=(0.25,))
        unit = Bundle(
            classes=("a",), pixels=pixels, images=noise, hard_labels=np.zeros(4, np.int64)
        )
        net, drawn, draw = body(inputs=144), [], views.draw_boxes
        monkeypatch.setattr(
            views,
            "draw_boxes",
            lambda *args, **more: drawn.append(draw(*args, **more)) or drawn[-1],
        )
        made = selectors.resolve("rded:low=0.25,crops=6")(
            unit, SelectOptions(ipc=1), experts=Experts(net)
        )
        boxes = (torch.stack(drawn) * 12).round().int()
        sides = boxes[..., 2:] - boxes[..., :2]
        assert (sides[..., 0] == sides[..., 1]).all()
        assert sides.min() >= 6
        assert len(boxes.flatten(0, 1).unique(dim=0)) > 10
        found = []
        for number in range(4):
            image = torch.from_numpy(unit.images[number : number + 1])
            cuts = [image[:, :, y0:y1, x0:x1] for y0, x0, y1, x1 in boxes[:, number].tolist()]
            cuts = torch.cat(
                [F.interpolate(cut, (12, 12), mode="bilinear", align_corners=False) for cut in cuts]
            )
            with torch.no_grad():
                loss = F.cross_entropy(
                    net(cuts).double(), torch.zeros(6, dtype=torch.int64), reduction="none"
                )
            found.append((float(loss.min()), F.avg_pool2d(cuts[loss.argmin()], 2)))
        a, b, c, d = (patch for _, patch in sorted(found, key=lambda each: each[0]))
        expected = torch.cat([torch.cat([a, b], 2), torch.cat([c, d], 2)], 1)
        torch.testing.assert_close(torch.from_numpy(made.images[0]), expected)

    def test_the_same_seed_gives_the_same_patches(self):
        bundle = make_bundle(36)
        one, same, other = (
            selectors.get("rded")(
                bundle, SelectOptions(ipc=2, seed=seed), experts=Experts(body())
            ).images
            for seed in (0, 0, 1)
        )
        assert (one == same).all()
        assert (one != other).any()

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("rded:factor=3", "8 px cannot be cut into 3 × 3"),
            ("rded:low=0", "low 0.0"),
            ("rded:crops=0", "crops 0"),
            ("rded", "has 4 images: ask for at most 1"),
        ],
    )
    def test_what_cannot_be_cut_is_refused_before_the_experts_are_asked(
        self, bundle, spec, message
    ):
        experts = Experts(body())
        with pytest.raises(UsageError, match=message):
            selectors.resolve(spec)(bundle, SelectOptions(ipc=2), experts=experts)
        assert experts.asked == 0


@pytest.mark.parametrize(
    ("options", "runs", "message"),
    [
        ({"method": "k-center"}, 0, "k-center needs an expert: name its run with --expert"),
        ({"method": "random"}, 1, "random asks no expert"),
        ({"epoch": "2"}, 0, "--epoch"),
        ({"method": "k-centre"}, 1, "did you mean 'k-center'"),
        ({"ipc": 5}, 0, "--ipc is 5 and class 'class 0' has 4 images: ask for at most 4"),
        ({"ipc": 5, "method": "herding"}, 1, "has 4 images"),
        ({"method": "cross-entropy:decile=11"}, 1, "decile is 11"),
        ({"method": "cross-entropy:decile=2,rank=hardest"}, 1, "decile is 2 and rank hardest"),
        ({"method": "cross-entropy:rank=easy"}, 1, "expected one of easiest, hardest, stratified"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, bundle, options, runs, message):
    picks = [(make_run(tmp_path / "run", 0), 1)] * runs
    with pytest.raises(UsageError, match=message):
        select(bundle, SelectOptions(**{"ipc": 1} | options), picks)


@pytest.mark.parametrize("method", [name for name in selectors if name != "random"])
def test_the_command_records_method_and_experts(cli, tmp_path, method):
    formats.write("real.safetensors", make_bundle(24))
    runs = [make_run(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    words = ["--ipc", 2, "--method", method, "--expert", "one", "--expert", "two"]
    cli("select", "real.safetensors", "few.safetensors", *words)
    cli("select", "real.safetensors", "again.safetensors", *words)
    assert (tmp_path / "few.safetensors").read_bytes() == (
        tmp_path / "again.safetensors"
    ).read_bytes()
    few = formats.read("few.safetensors")
    few.check_values()
    entry = few.history[-1]
    assert entry.options == {
        "ipc": 2,
        "seed": 0,
        "method": method,
        "epoch": "last",
        "precision": "auto",
    }
    assert [(each.role, each.name, each.sha256) for each in entry.inputs] == [
        ("expert", run.folder.name, run.digest(1)) for run in runs
    ]
    assert f"--method {method}" in cli("info", "few.safetensors").out.decode()
