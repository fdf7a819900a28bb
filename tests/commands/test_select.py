"""`select` from Python and on the command line, with expert runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from experts import write_run
from samples import make_bundle
from scipy.special import log_softmax

from ddlabel.commands.select import select, select_images
from ddlabel.commands.selectors import selectors
from ddlabel.core.config import SelectOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data import formats
from ddlabel.data.expert_run import Checkpoint, ExpertRun
from ddlabel.data.provenance import patch_factor
from ddlabel.training.labeler import network_of

NEED_EXPERTS = [name for name in selectors if name != "random"]
BATCH_NORM_NET = "convnet-d1:width=4,norm=batch"


def make_run(folder, seed: int = 0) -> ExpertRun:
    return write_run(folder, make_bundle(), net=BATCH_NORM_NET, seed=seed)


def logits_of(run: ExpertRun, images: torch.Tensor) -> np.ndarray:
    """The logits of the last checkpoint in evaluation mode."""
    network = network_of(run.about).eval()
    weights = {name: torch.from_numpy(array) for name, array in run.weights(1).items()}
    network.body.load_state_dict(weights)
    with torch.no_grad():
        return network(images).double().numpy()


def test_the_losses_are_those_of_the_mean_logits_in_evaluation_mode(tmp_path):
    bundle = make_bundle(60)
    runs = [make_run(tmp_path / str(seed), seed) for seed in range(2)]
    unit = torch.from_numpy(bundle.images).float() / 255
    mean_logits = np.mean([logits_of(run, unit) for run in runs], 0)
    losses = -log_softmax(mean_logits, axis=1)[np.arange(60), bundle.hard_labels]
    selected = select(bundle, ipc=2, method="cross-entropy", expert=runs, precision="fp32")
    for number in range(3):
        of_class = np.flatnonzero(bundle.hard_labels == number)
        rows = selected.source_index[selected.hard_labels == number]
        assert set(rows) == set(of_class[np.argsort(losses[of_class])][:2])


def test_an_object_and_a_path_give_the_same_bundle(tmp_path):
    bundle = make_bundle(30)
    formats.write(str(tmp_path / "b.safetensors"), bundle)
    from_object = select(bundle, ipc=3, seed=1)
    from_path = select(tmp_path / "b.safetensors", ipc=3, seed=1)
    assert from_object.digest == from_path.digest
    assert from_object.history[-1].bundle == bundle.digest


@pytest.mark.parametrize(
    ("options", "num_runs", "name"),
    [
        ({"method": "k-center"}, 0, "--expert"),
        ({"method": "random"}, 1, "--expert"),
        ({"epoch": "2"}, 0, "--epoch"),
        ({"method": "k-centre"}, 1, "k-center"),
        ({"ipc": 5}, 0, "--ipc"),
        ({"ipc": 5, "method": "herding"}, 1, "--ipc"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, bundle, options, num_runs, name):
    checkpoints = [Checkpoint(make_run(tmp_path / "run"), 1)] * num_runs
    with pytest.raises(UsageError, match=name):
        select_images(bundle, SelectOptions(**{"ipc": 1} | options), checkpoints)


@pytest.mark.parametrize(("ipc", "epoch"), [(1, 2), (10, 3)])
def test_auto_takes_the_epoch_that_suits_the_images_that_are_selected(tmp_path, ipc, epoch):
    # The goal for three classes is 69 % at IPC 1, 79 % at IPC 10: see `accuracy_goal`.
    run = write_run(tmp_path / "run", make_bundle(), net=BATCH_NORM_NET, steps=3)
    accuracies = (0.5, 0.72, 0.9)
    records = zip(run.saved_metrics(), accuracies, strict=True)
    run.save_metrics([record | {"train_accuracy": accuracy} for record, accuracy in records])
    few = select(make_bundle(60), ipc=ipc, method="herding", expert=run, precision="fp32")
    assert few.history[-1].inputs[0].name == f"run@{epoch}"


def test_an_expert_of_other_images_is_refused(tmp_path):
    with pytest.raises(IncompatibleError):
        select(make_bundle(size=9), method="herding", expert=make_run(tmp_path / "run"), ipc=1)


@pytest.mark.parametrize("method", NEED_EXPERTS)
def test_the_command_records_the_method_and_the_experts(cli, tmp_path, method):
    formats.write("real.safetensors", make_bundle(24))
    runs = [make_run(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    words = ["--ipc", 2, "--method", method, "--expert", "one", "--expert", "two"]
    words += ["--precision", "fp32"]
    cli("select", "real.safetensors", "few.safetensors", *words)
    cli("select", "real.safetensors", "again.safetensors", *words)
    first, second = tmp_path / "few.safetensors", tmp_path / "again.safetensors"
    assert first.read_bytes() == second.read_bytes()
    few = formats.read("few.safetensors")
    few.check_values()
    assert np.bincount(few.hard_labels).tolist() == [2, 2, 2]
    entry = few.history[-1]
    assert entry.options == {
        "ipc": 2,
        "seed": 0,
        "method": method,
        "epoch": "auto",
        "precision": "fp32",
    }
    inputs = [(given.role, given.name, given.sha256) for given in entry.inputs]
    assert inputs == [("expert", f"{run.folder.name}@1", run.digest(1)) for run in runs]


def test_the_history_says_how_many_patches_an_image_is_stitched_of(tmp_path):
    bundle = make_bundle(60)
    run = make_run(tmp_path / "run")
    chosen = {"ipc": 1, "expert": [run]}
    stitched = select(bundle, method="rded:factor=2,images=20", **chosen)
    small = select(bundle, method="rded:images=20", **chosen)
    assert patch_factor(stitched.history) == 2
    # Below 128 px RDED's scripts have a factor of 1.
    assert patch_factor(small.history) == 1
    assert patch_factor(select(bundle, method="herding", **chosen).history) is None
