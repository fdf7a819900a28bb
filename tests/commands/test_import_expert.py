"""Experts of others: every foreign form gives the labels of the expert that it came from."""

from __future__ import annotations

import argparse
from collections import OrderedDict

import numpy as np
import pytest
import torch
from experts import train_small_expert
from safetensors.torch import save_file
from students import easy_bundle
from torch import nn

import ddlabel
from ddlabel.commands.reporter import Reporter
from ddlabel.core.errors import (
    IncompatibleError,
    InvalidInputError,
    OutputExistsError,
    UnsafeInputError,
    UsageError,
)
from ddlabel.data.expert_run import ExpertRun

NET = "convnet-d2:width=4"
MEAN, STD = 0.4, 0.2
KNOWN = {"mean": str(MEAN), "std": str(STD), "net": NET, "size": 8}
CLASSES = "class 0,class 1,class 2"


class Notes(Reporter):
    """Keeps what was reported."""

    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)

    warn = note


def field_network(num_classes=3, norm=lambda: nn.GroupNorm(4, 4)):
    """The ConvNet of DC's public code, with its names, for grey images of 8 px."""
    layers = []
    for channels in (1, 4):
        layers += [nn.Conv2d(channels, 4, 3, padding=1), norm(), nn.ReLU(), nn.AvgPool2d(2)]
    parts = OrderedDict(
        features=nn.Sequential(*layers), flatten=nn.Flatten(), classifier=nn.Linear(16, num_classes)
    )
    net = nn.Sequential(parts)
    generator = torch.Generator().manual_seed(3)
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 2
    return net


@pytest.fixture
def net():
    return field_network()


@pytest.fixture(scope="module")
def real():
    return easy_bundle()


def logits_of(net, bundle):
    """The labels of a network by plain torch."""
    images = torch.from_numpy(bundle.images.astype(np.float32))
    if bundle.images.dtype == np.uint8:
        images /= 255
    with torch.no_grad():
        return net.eval()((images - MEAN) / STD).numpy()


def labels_of(runs, bundle, epoch="last"):
    labelled = ddlabel.relabel(
        bundle, expert=runs, epoch=epoch, device="cpu", compile="off", precision="fp32"
    )
    return labelled.soft.values


def imported(path, out, **options):
    (run,) = ddlabel.import_expert(path, out, **{"class_names": CLASSES} | KNOWN | options)
    return run


def with_prefix(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


WRAPPED = {
    "plain": lambda state: state,
    "DataParallel": lambda state: {"state_dict": with_prefix(state, "module."), "best_prec1": 91.2},
    "Label-Worth": lambda state: {
        "model": state,
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": []},
        "lr_scheduler": {"_last_lr": [0.1]},
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, model="resnet18"),
    },
    "compiled and wrapped": lambda state: {"net": with_prefix(state, "_orig_mod.module.")},
    "nested": lambda state: {"model": {"state_dict": state}, "acc": 0.5},
    "float64": lambda state: {name: tensor.double() for name, tensor in state.items()},
    "parameters": lambda state: {name: nn.Parameter(tensor) for name, tensor in state.items()},
}


@pytest.mark.parametrize("form", WRAPPED)
def test_labels_of_a_state_dict_are_those_of_plain_torch(form, net, real, tmp_path):
    torch.save(WRAPPED[form](net.state_dict()), tmp_path / "model.pth")
    run = imported(tmp_path / "model.pth", tmp_path / "run")
    np.testing.assert_allclose(labels_of([run], real), logits_of(net, real), rtol=1e-5, atol=1e-6)


def test_the_old_container_and_numpy_scalars_are_read(net, real, tmp_path):
    content = {"state_dict": net.state_dict(), "best": np.float64(0.5)}
    torch.save(content, tmp_path / "m.th", _use_new_zipfile_serialization=False)
    run = imported(tmp_path / "m.th", tmp_path / "run")
    np.testing.assert_allclose(labels_of([run], real), logits_of(net, real), rtol=1e-5, atol=1e-6)


def test_batch_norm_brings_its_running_statistics(real, tmp_path):
    net = field_network(norm=lambda: nn.BatchNorm2d(4))
    net.train()(torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    state = net.state_dict()
    without_counters = {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}
    torch.save(without_counters, tmp_path / "m.pth")
    run = imported(tmp_path / "m.pth", tmp_path / "run", net=f"{NET},norm=batch")
    np.testing.assert_allclose(labels_of([run], real), logits_of(net, real), rtol=1e-5, atol=1e-6)


def test_every_epoch_of_a_run_of_ours_comes_back_from_a_replay_buffer(real, tmp_path):
    run = train_small_expert(real, tmp_path / "own", net=NET, epochs=2)
    order = list(field_network().parameters())  # weight, bias, weight, bias, … as in our ConvNet
    names = [f"{layer}.{part}" for layer in (0, 1, 4, 5, 9) for part in ("weight", "bias")]
    epochs = [[torch.zeros_like(parameter) for parameter in order]]
    for step in run.epochs:
        epochs.append([torch.from_numpy(run.weights(step)[name]) for name in names])
    torch.save([epochs, epochs[::-1]], tmp_path / "replay_buffer_0.pt")
    info = run.about
    found = ddlabel.import_expert(
        tmp_path / "replay_buffer_0.pt",
        tmp_path / "runs",
        class_names=real,
        size=8,
        mean=str(info.mean[0]),
        std=str(info.std[0]),
    )
    assert [each.folder.name for each in found] == ["expert-0", "expert-1"]
    assert list(found[0].epochs.values()) == [1, 2]
    assert found[0].about.net == NET  # found by the shapes
    for ours, theirs in zip((1, 2), run.epochs.values(), strict=True):
        expected = labels_of([run], real, f"{theirs:g}")
        np.testing.assert_array_equal(labels_of([found[0]], real, str(ours)), expected)
    backwards = labels_of([found[1]], real, "1")
    np.testing.assert_array_equal(backwards, labels_of([run], real, "1"))


def test_chosen_experts_and_epochs_of_a_buffer(net, tmp_path):
    epochs = [[parameter + epoch for parameter in net.parameters()] for epoch in range(4)]
    torch.save([epochs, epochs], tmp_path / "buffer.pt")
    run = imported(tmp_path / "buffer.pt", tmp_path / "run", experts="1", epochs="0,2-3", size=8)
    assert (run.folder, list(run.epochs)) == (tmp_path / "run", [0, 2, 3])
    weights = run.weights(2)
    assert weights["0.bias"].tolist() == (list(net.parameters())[1] + 2).tolist()


def test_files_of_several_epochs_are_ordered_by_their_numbers(net, tmp_path):
    paths = [tmp_path / f"model_{number}.pth" for number in (0, 10, 2)]
    for path in paths:
        torch.save({"model": net.state_dict()}, path)
    run = imported(paths, tmp_path / "run")
    assert list(run.epochs.values()) == [0, 2, 10]


def test_names_of_our_own_in_a_safetensors_file(real, tmp_path):
    run = train_small_expert(real, tmp_path / "own", net=NET)
    (checkpoint,) = (tmp_path / "own").glob("step-*.safetensors")
    mean, std = real.pixels.mean[0], real.pixels.std[0]
    again = imported(checkpoint, tmp_path / "again", mean=str(mean), std=str(std), size=8)
    np.testing.assert_array_equal(labels_of([again], real), labels_of([run], real))


def test_other_names_in_a_safetensors_file_have_no_order_and_are_refused(net, tmp_path):
    save_file(
        {name: t.contiguous() for name, t in net.state_dict().items()}, tmp_path / "m.safetensors"
    )
    with pytest.raises(IncompatibleError, match="no order"):
        imported(tmp_path / "m.safetensors", tmp_path / "run", size=8)


def test_an_expert_that_was_trained_on_whitened_images(real, tmp_path):
    run = train_small_expert(real, tmp_path / "own", net=NET, zca=True)
    (checkpoint,) = (tmp_path / "own").glob("step-*.safetensors")
    (again,) = ddlabel.import_expert(
        checkpoint, tmp_path / "again", class_names=real, zca_from=real
    )
    np.testing.assert_array_equal(labels_of([again], real), labels_of([run], real))


class TestAccuracy:
    def test_test_images_and_training_images_are_counted(self, net, real, tmp_path):
        torch.save(net.state_dict(), tmp_path / "m.pth")
        run = imported(tmp_path / "m.pth", tmp_path / "run", test=real, real=real)
        (record,) = run.metrics()
        expected = (logits_of(net, real).argmax(1) == real.hard_labels).mean()
        assert record["test_accuracy"] == record["train_accuracy"] == expected
        assert record["test"] == run.about.data == real.digest
        assert labels_of([run], real, "auto").shape == (len(real), 3)

    def test_outputs_in_another_order_are_warned_of(self, real, tmp_path):
        trained = train_small_expert(
            real, tmp_path / "own", net=NET, epochs=30, optimizer="sgd:lr=0.1,momentum=0.9"
        )
        weights = trained.weights(max(trained.epochs))
        assert trained.metrics()[-1]["train_accuracy"] > 0.9
        for name in ("9.weight", "9.bias"):
            weights[name] = np.roll(weights[name], 1, axis=0)
        path = tmp_path / "m.safetensors"
        save_file({name: torch.from_numpy(array.copy()) for name, array in weights.items()}, path)
        notes = Notes()
        settings = {"class_names": CLASSES, "net": NET, "test": real, "reporter": notes}
        mean, std = real.pixels.mean[0], real.pixels.std[0]
        ddlabel.import_expert(path, tmp_path / "run", **settings, mean=str(mean), std=str(std))
        (warning,) = [line for line in notes.lines if line.startswith("warning")]
        assert "another order" in warning


def test_epochs_that_are_all_the_last_one_are_warned_of(net, tmp_path):
    live = [parameter.detach() for parameter in net.parameters()]
    torch.save([[live, live, live]], tmp_path / "buffer.pt")
    notes = Notes()
    imported(tmp_path / "buffer.pt", tmp_path / "run", size=8, reporter=notes)
    assert any("same weights" in line for line in notes.lines)


@pytest.mark.slow
def test_weights_of_torchvision_are_guessed_with_imagenets_normalisation(tmp_path):
    import torchvision

    net = torchvision.models.resnet18()
    torch.save(net.state_dict(), tmp_path / "resnet18-f37072fd.pth")
    images = np.random.default_rng(0).uniform(size=(4, 3, 64, 64)).astype(np.float32)
    bundle = ddlabel.Bundle(
        classes=tuple(f"class {number}" for number in range(1000)),
        pixels=ddlabel.Pixels(space="unit", mean=(0.5,) * 3, std=(0.5,) * 3),
        images=images,
        hard_labels=np.arange(4),
    )
    path = tmp_path / "resnet18-f37072fd.pth"
    (run,) = ddlabel.import_expert(path, tmp_path / "run", class_names=bundle, size=64)
    assert run.about.net == "torchvision-resnet18"
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        expected = net.eval()((torch.from_numpy(images) - mean) / std)
    np.testing.assert_allclose(labels_of([run], bundle), expected, rtol=1e-4, atol=1e-4)


class Runs:
    """Runs a command if it is unpickled."""

    def __reduce__(self):
        return (print, ("run",))


def refused(path, tmp_path, error, match, **options):
    with pytest.raises(error, match=match) as raised:
        imported(path, tmp_path / "run", **options)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "error", "match"),
        [
            ({"optimizer": {}, "epoch": 3}, InvalidInputError, "optimizer, epoch and no weights"),
            ([[torch.zeros(2)]], InvalidInputError, "not a replay buffer"),
            ([], InvalidInputError, "not a replay buffer"),
            (torch.zeros(3), InvalidInputError, "Tensor"),
            ({"state_dict": Runs()}, UnsafeInputError, "code"),
            (nn.Linear(2, 2), UnsafeInputError, "state_dict"),
        ],
    )
    def test_files_without_weights(self, content, error, match, tmp_path):
        torch.save(content, tmp_path / "m.pth")
        refused(tmp_path / "m.pth", tmp_path, error, match)

    @pytest.mark.parametrize(
        ("change", "error", "match"),
        [
            ({"features.0.weight": torch.full((4, 1, 3, 3), torch.nan)}, InvalidInputError, "NaN"),
            ({"features.0.weight": torch.zeros(8, 1, 3, 3)}, IncompatibleError, "0.weight is"),
            ({"extra.bias": torch.zeros(5)}, IncompatibleError, "extra.bias"),
            (
                {"features.0.weight": torch.zeros(1).expand(4, 1, 3, 3)},
                UnsafeInputError,
                "bytes do not fill",
            ),
        ],
    )
    def test_state_dicts_that_do_not_fit(self, change, error, match, net, tmp_path):
        torch.save({**net.state_dict(), **change}, tmp_path / "m.pth")
        refused(tmp_path / "m.pth", tmp_path, error, match, size=8)

    def test_another_number_of_classes(self, tmp_path):
        torch.save(field_network(5).state_dict(), tmp_path / "m.pth")
        refused(tmp_path / "m.pth", tmp_path, IncompatibleError, "with 5 classes, and 3", size=8)

    def test_a_buffer_for_a_network_with_batch_norm(self, net, tmp_path):
        torch.save([[list(net.parameters())] * 2], tmp_path / "m.pt")
        named = {"net": f"{NET},norm=batch", "size": 8}
        refused(tmp_path / "m.pt", tmp_path, IncompatibleError, "running statistics", **named)

    @pytest.mark.parametrize(
        ("missing", "match"),
        [("class_names", "--class-names"), ("mean", "--normalise")],
    )
    def test_what_is_not_given_is_not_invented(self, missing, match, tmp_path):
        layers = [nn.Conv2d(3, 4, 3), nn.GroupNorm(4, 4), nn.Linear(4 * 16 * 16, 3)]
        torch.save(nn.Sequential(*layers).state_dict(), tmp_path / "m.pth")
        given = {"mean": "0.5", "std": "0.2", "net": "convnet-d1:width=4", "size": 32}
        given = given | {"class_names": CLASSES}
        for name in (missing, "std") if missing == "mean" else (missing,):
            del given[name]
        with pytest.raises(UsageError, match=match):
            ddlabel.import_expert(tmp_path / "m.pth", tmp_path / "run", **given)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"epochs": "1-"}, "1,5,10-50"),
            ({"epochs": "7"}, "no 7"),
            ({"experts": "2"}, "no 2"),
        ],
    )
    def test_epochs_and_experts_that_are_not_there(self, options, match, net, tmp_path):
        torch.save([[list(net.parameters())] * 3], tmp_path / "m.pt")
        refused(tmp_path / "m.pt", tmp_path, UsageError, match, size=8, **options)

    def test_files_without_numbers_need_epochs(self, net, tmp_path):
        paths = [tmp_path / "first.pth", tmp_path / "second.pth"]
        for path in paths:
            torch.save(net.state_dict(), path)
        refused(paths, tmp_path, UsageError, "--epochs")

    def test_a_run_is_never_replaced(self, net, tmp_path):
        torch.save(net.state_dict(), tmp_path / "m.pth")
        run = imported(tmp_path / "m.pth", tmp_path / "run", size=8)
        with pytest.raises(OutputExistsError):
            imported(tmp_path / "m.pth", tmp_path / "run", size=8)
        torch.save(field_network().double().state_dict(), tmp_path / "m.pth")
        with pytest.raises(IncompatibleError, match="sha256"):
            imported(tmp_path / "m.pth", tmp_path / "run", size=8)
        assert ExpertRun(run.folder).complete

    def test_an_import_that_was_killed_is_finished(self, net, tmp_path):
        torch.save([[list(net.parameters())] * 3], tmp_path / "m.pt")
        run = imported(tmp_path / "m.pt", tmp_path / "run", size=8)
        run.save_metrics(run.metrics()[:1])
        again = imported(tmp_path / "m.pt", tmp_path / "run", size=8)
        assert again.complete
        assert [record["epoch"] for record in again.metrics()] == [1, 2]
