"""Expert runs on disk: what is written is read back, checkpoints by epoch, damage."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from record_samples import expert_info

from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.data.early_stopping import accuracy_goal, early_stop
from ddlabel.data.expert_run import Checkpoint, ExpertRun

INFO = expert_info(steps=12, options={"epochs": 3})
WEIGHTS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3).T, "bias": np.zeros(2)}


@pytest.fixture
def run(tmp_path) -> ExpertRun:
    """Checkpoints at steps 1, 4 and 12, the last with the best training accuracy."""
    run = ExpertRun.create(tmp_path / "expert", INFO)
    records = []
    for step, accuracy in ((1, 0.3), (4, 0.74), (12, 0.85)):
        sha256 = run.save_weights(step, WEIGHTS)
        records.append({"step": step, "sha256": sha256, "train_accuracy": accuracy})
    run.save_metrics(records)
    return run


def test_a_run_is_read_back_as_it_was_made(run):
    assert ExpertRun(run.folder).about == INFO
    names = sorted(path.name for path in run.folder.iterdir())
    steps = [f"step-{step:08d}.safetensors" for step in (1, 4, 12)]
    assert names == ["expert.json", "metrics.jsonl", *steps]


def test_weights_are_read_back_by_value(run):
    weights = run.weights(4)
    assert weights.keys() == WEIGHTS.keys()
    assert all(np.array_equal(weights[name], array) for name, array in WEIGHTS.items())


@pytest.mark.parametrize(("epoch", "step"), [("0.25", 1), ("1", 4), ("3", 12), ("last", 12)])
def test_a_checkpoint_is_found_by_its_epoch(run, epoch, step):
    assert run.step_of(epoch) == step


def test_epochs_are_steps_over_the_steps_of_an_epoch(run):
    assert run.epochs == {1: 0.25, 4: 1.0, 12: 3.0}
    assert Checkpoint(run, 1).epoch == 0.25


def test_a_step_within_half_a_step_of_the_epoch_counts(run):
    assert run.step_of("0.37") == 1  # step 1.48
    with pytest.raises(InvalidInputError, match=r"0\.38"):
        run.step_of("0.38")


@pytest.mark.parametrize("epoch", ["first", "", "1e"])
def test_a_word_that_is_no_epoch_is_a_usage_error(run, epoch):
    with pytest.raises(UsageError, match="epoch of an expert"):
        run.step_of(epoch)


def test_a_checkpoint_is_a_pair_with_a_digest(run):
    checkpoint = Checkpoint(run, 4)
    assert checkpoint == (run, 4)
    assert checkpoint.digest == run.digest(4)


def test_the_digest_is_of_weights_and_description(run, tmp_path):
    weights = hashlib.sha256((run.folder / "step-00000004.safetensors").read_bytes()).hexdigest()
    info = json.loads((run.folder / "expert.json").read_text())
    del info["digest"]
    canonical = {"sort_keys": True, "separators": (",", ":")}
    text = json.dumps([weights, json.dumps(info, **canonical)], **canonical)
    assert run.digest(4) == hashlib.sha256(text.encode()).hexdigest()
    other = ExpertRun.create(tmp_path / "other", replace(INFO, net="convnet-d2:width=4"))
    other.save_weights(4, WEIGHTS)
    assert other.digest(4) != run.digest(4)


def test_a_run_with_zca_has_its_matrix_in_the_digest(tmp_path):
    run = ExpertRun.create(tmp_path / "expert", replace(INFO, zca=True))
    run.save_weights(4, WEIGHTS)
    digests = set()
    for scale in (1, 2):
        run.save_whitening({"mean": np.zeros((1, 1, 2, 2)), "matrix": scale * np.eye(4)})
        digests.add(run.digest(4))
    assert len(digests) == 2
    assert run.has_whitening
    assert np.array_equal(run.whitening()["matrix"], 2 * np.eye(4))


def test_runs_are_found_in_a_folder_in_its_subfolders_and_with_an_epoch(run, tmp_path):
    second = ExpertRun.create(tmp_path / "a", INFO)
    assert [found.folder for found in ExpertRun.find(str(run.folder))] == [run.folder]
    assert [found.folder for found in ExpertRun.find(str(tmp_path))] == [second.folder, run.folder]
    (with_epoch,) = ExpertRun.find(f"{run.folder}@0.25")
    assert (with_epoch.folder, with_epoch.epoch) == (run.folder, "0.25")


@pytest.mark.parametrize("name", ["nowhere", "nowhere@3", "empty"])
def test_a_folder_without_a_run_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=name):
        ExpertRun.find(str(tmp_path / name))


def signed(values: dict) -> str:
    """The text of a description with the digest that belongs to it."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps(values | {"digest": hashlib.sha256(text.encode()).hexdigest()})


BAD_INFO = {
    "no JSON": "{",
    "a list": "[]",
    "lists in lists": "[" * 100_000,
    "a field missing": signed({"net": "x", "format": 1}),
    "a later format": signed(vars(INFO) | {"format": 2}),
    "a field more": signed(vars(INFO) | {"extra": 1}),
    "no digest": json.dumps(vars(INFO)),
    "another layout": signed(vars(INFO)),
    "the digest of another": signed(vars(INFO)).replace("0.25", "0.5"),
}


@pytest.mark.parametrize("text", BAD_INFO)
def test_a_description_of_another_form_is_refused(run, text):
    (run.folder / "expert.json").write_text(BAD_INFO[text])
    with pytest.raises(InvalidInputError, match=r"expert"):
        ExpertRun(run.folder)


def test_a_run_is_complete_when_its_last_step_is_recorded(run):
    assert run.complete
    run.save_metrics(run.metrics()[:-1])
    assert not run.complete


def test_a_damaged_checkpoint_is_refused(run):
    path = run.folder / "step-00000004.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=path.name):
        run.weights(4)
    path.unlink()
    with pytest.raises(InvalidInputError, match=path.name):
        run.weights(4)


def test_a_checkpoint_without_a_record_is_refused(run):
    run.save_metrics(run.metrics()[:-1])
    for read in (run.metrics, lambda: run.weights(12)):
        with pytest.raises(InvalidInputError, match=r"metrics\.jsonl"):
            read()
    assert [record["step"] for record in run.saved_metrics()] == [1, 4]


def test_a_file_of_another_name_is_no_checkpoint(run):
    for name in ("step-4.safetensors", "step-0000000x.safetensors", "step-00000005.h5"):
        (run.folder / name).touch()
    assert list(run.epochs) == [1, 4, 12]


def test_every_record_has_the_digest_of_its_other_fields(run):
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    for line, record in zip(lines, run.metrics(), strict=True):
        assert json.loads(line) == json.loads(signed(record))


BAD_METRICS = {
    "no JSON": lambda lines: ["{"],
    "lists in lists": lambda lines: ["[" * 100_000],
    "a list": lambda lines: ["[1]"],
    "no digest": lambda lines: ['{"step": 1}'],
    "another number": lambda lines: [lines[0].replace("0.3", "0.9"), *lines[1:]],
    "a line twice": lambda lines: [*lines, lines[-1]],
    "lines in another order": lambda lines: lines[::-1],
    "a space more": lambda lines: [f"{lines[0]} ", *lines[1:]],
    "a line less": lambda lines: lines[1:],
}


@pytest.mark.parametrize("damage", BAD_METRICS)
def test_damaged_metrics_are_refused(run, damage):
    path = run.folder / "metrics.jsonl"
    lines = BAD_METRICS[damage](path.read_text().splitlines())
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(InvalidInputError, match=r"metrics\.jsonl"):
        run.metrics()


def test_damaged_whitening_is_refused(tmp_path):
    run = ExpertRun.create(tmp_path / "expert", replace(INFO, zca=True))
    run.save_whitening({"mean": np.zeros((1, 1, 2, 2)), "matrix": np.eye(4)})
    path = run.folder / "whitening.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=path.name):
        run.whitening()
    path.unlink()
    with pytest.raises(InvalidInputError, match=path.name):
        run.whitening()


# Label-Worth, Table 7 (100 and 200 classes) and its public code (10): accuracies in percent.
BEST_EXPERTS = {
    10: (56.0, 65.1, 74.9, 76.5),
    100: (30.2, 40.2, 50.7, 56.4),
    200: (19.2, 35.0, 38.1, 38.8),
}


@pytest.mark.parametrize("num_classes", BEST_EXPERTS)
def test_the_goal_is_near_the_best_experts_of_the_paper(num_classes):
    goals = [100 * accuracy_goal(ipc, num_classes) for ipc in (1, 10, 50, 100)]
    assert goals == sorted(goals)
    assert goals == pytest.approx(BEST_EXPERTS[num_classes], abs=5)


def test_the_goal_of_less_than_one_image_per_class_is_that_of_one():
    assert accuracy_goal(0.5, 10) == accuracy_goal(1, 10)


# Of two classes the goals are 73 % at IPC 1, 82 % at IPC 10 and 88 % at IPC 100.
@pytest.mark.parametrize(
    ("ipc", "step", "is_reached"), [(1, 4, True), (10, 12, True), (100, 12, False)]
)
def test_early_stopping_takes_the_first_checkpoint_that_reaches_the_goal(
    run, ipc, step, is_reached
):
    assert early_stop(run, ipc)[::2] == (step, is_reached)


def test_early_stopping_does_not_depend_on_the_length_of_the_run(run):
    before = early_stop(run, 1)
    records = run.metrics()
    sha256 = run.save_weights(40, WEIGHTS)
    run.save_metrics([*records, {"step": 40, "sha256": sha256, "train_accuracy": 0.99}])
    assert early_stop(run, 1) == before


def test_early_stopping_needs_accuracies_and_the_checkpoint(run):
    (run.folder / "step-00000004.safetensors").unlink()
    with pytest.raises(InvalidInputError, match="step 4"):
        early_stop(run, 1)
    (run.folder / "step-00000012.safetensors").unlink()
    run.save_metrics([{"step": 1}])
    with pytest.raises(InvalidInputError, match="name an epoch"):
        early_stop(run, 1)
