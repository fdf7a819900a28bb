"""`show` of results, and of the students that `evaluate --save-students` keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from figure_tables import column
from samples import make_bundle, records

from ddlabel.commands.evaluate import evaluate
from ddlabel.commands.refine import refine
from ddlabel.commands.reporter import SILENT
from ddlabel.commands.show import show
from ddlabel.commands.show.students import read_students
from ddlabel.core.errors import IncompatibleError, InvalidInputError, UsageError
from ddlabel.data import formats, saved_students
from ddlabel.data.bundle import Bundle
from ddlabel.data.record import Record
from ddlabel.methods.attention import grad_cam
from ddlabel.methods.nets import build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training.device_data import to_unit

TINY = {"net": "convnet-d1:width=4", "epochs": 2, "seeds": 2, "precision": "fp32"}
FIGURES = {"curve": True, "confusion": True, "reliability": True}


def soft_bundle(source: str = "expert@3") -> Bundle:
    bundle = make_bundle(images=6)
    meta = replace(bundle.soft.meta, source=source, temperature=2.0)
    return bundle.with_labels("soft", replace(bundle.soft, meta=meta))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Results of hard and soft labels and of refined ones, and the students of the first two."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        formats.write("soft.safetensors", soft_bundle())
        formats.write("test.safetensors", make_bundle(images=9, seed=1))
        formats.write("refined.safetensors", refine("soft.safetensors", gamma=0.2))
        for labels in ("hard", "soft"):
            evaluate(
                "soft.safetensors",
                test="test.safetensors",
                out="r.jsonl",
                labels=labels,
                save_students="kept",
                **TINY,
                **FIGURES,
            )
        evaluate(
            "refined.safetensors", test="test.safetensors", out="g.jsonl", loss="cosine", **TINY
        )
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch, tmp_path) -> Path:
    monkeypatch.chdir(folder)
    return tmp_path


def test_students_know_the_numbers_of_their_bundle():
    hard, *_, soft = read_students("r.jsonl", SILENT)
    images = 6 * 64
    # Class numbers have 8 bytes, logits of three classes 12.
    assert hard.numbers == {"ipc": 2, "bytes": images + 6 * 8}
    assert soft.numbers == {
        "ipc": 2,
        "temperature": 2,
        "epoch": 3,
        "bytes": images + 6 * 8 + 6 * 12,
    }
    assert soft.bundle == "soft"
    refined = read_students("g.jsonl", SILENT)[0]
    assert (refined.numbers["gamma"], refined.numbers["epoch"]) == (0.2, 3)


def test_by_default_it_shows_the_accuracies():
    (picture,) = show("r.jsonl")
    table = picture.drawing.table
    assert column(table, "group") == ["hard", "soft"]
    accuracies = [record["result"]["accuracy"] for record in records(Path("r.jsonl"))]
    means = 100 * np.reshape(accuracies, (2, 2)).mean(1)
    assert column(table, "accuracy_percent") == pytest.approx(means.tolist())


@pytest.mark.parametrize("name", ["curves", "confusion", "reliability", "pareto"])
def test_recorded_figures_are_drawn(name, inside):
    (picture,) = show("r.jsonl", inside / "out", figure=[name])
    assert all(path.stat().st_size for path in picture.files)


def test_the_diagonal_of_the_confusion_is_the_accuracy():
    (picture,) = show("r.jsonl", figure=["confusion"])
    rows = [row for row in picture.drawing.table.rows if row[0] == "hard"]
    hits = sum(row[3] for row in rows if row[1] == row[2])
    total = sum(row[3] for row in rows)
    accuracies = [record["result"]["accuracy"] for record in records(Path("r.jsonl"))]
    assert hits / total == pytest.approx(np.mean(accuracies[:2]))


def test_the_reliability_gives_the_calibration_error_of_the_record():
    for line in records(Path("r.jsonl")):
        bins = np.array(line["result"]["reliability"])
        error = np.abs(bins[:, 1] - bins[:, 2]).sum() / bins[:, 0].sum()
        assert error == pytest.approx(line["result"]["calibration_error"])


def test_what_evaluate_returns_can_be_shown():
    result = evaluate("soft.safetensors", test="test.safetensors", **TINY | {"seeds": 1})
    (picture,) = show(result)
    assert column(picture.drawing.table, "students") == [1]
    with pytest.raises(UsageError, match="type int"):
        show(7)


def test_missing_numbers_and_figures_say_what_to_do():
    with pytest.raises(IncompatibleError, match="no record has gamma"):
        show("r.jsonl", figure=["gamma"])
    with pytest.raises(IncompatibleError, match="--curve"):
        show("g.jsonl", figure=["curves"])


def test_a_results_file_without_records_is_refused(inside):
    path = inside / "a.jsonl"
    path.write_text("hello\n")
    with pytest.raises(InvalidInputError, match="line 1"):
        show(path)


def changed_about(**facts) -> str:
    (line, *_) = Path("r.jsonl").read_text().splitlines()
    record = Record.from_json(line)
    about = record.origins | {"bundle": record.origins["bundle"] | facts}
    return replace(record, origins=about).to_json()


@pytest.mark.parametrize(
    "facts",
    [
        {"bytes": 7},
        {"bytes": {"images": "many"}},
        {"labels": []},
        {"labels": {"soft": 1}},
        {"labels": {"soft": {"source": 1, "temperature": 1}}},
        {"labels": {"soft": {}}},
    ],
)
def test_facts_of_another_form_are_no_record(facts):
    with pytest.raises((TypeError, KeyError)):
        Record.from_json(changed_about(**facts))


class TestSavedStudents:
    def test_are_one_file_for_each_student(self):
        kept = saved_students.read_all("kept")
        keys = {json.loads(line)["key"] for line in Path("r.jsonl").read_text().splitlines()}
        assert {about.key for about, _ in kept} == keys
        assert all(about.bundle == "soft.safetensors" for about, _ in kept)

    def test_reach_the_accuracy_of_their_record(self):
        test = formats.load("test.safetensors")[0]
        for about, path in saved_students.read_all("kept"):
            network = build(
                about.net,
                normalisation(about.mean, about.std),
                channels=about.channels,
                size=about.size,
                num_classes=3,
                seed=0,
            ).eval()
            weights = saved_students.weights_of(path)
            network.body.load_state_dict({n: torch.from_numpy(w) for n, w in weights.items()})
            with torch.no_grad():
                predicted = network(to_unit(torch.from_numpy(np.array(test.images)))).argmax(1)
            hits = (predicted.numpy() == test.hard_labels).mean()
            assert hits == pytest.approx(about.accuracy)

    def test_a_rerun_trains_only_those_whose_file_is_missing(self, inside, monkeypatch):
        monkeypatch.chdir(inside)
        bundle, test = soft_bundle(), make_bundle(images=9, seed=1)
        given = {"test": test, "out": "r.jsonl", **TINY}
        evaluate(bundle, **given)
        evaluate(bundle, save_students="kept", **given)
        assert len(list(Path("kept").iterdir())) == 2
        assert len(records(Path("r.jsonl"))) == 4
        evaluate(bundle, save_students="kept", **given)
        assert len(records(Path("r.jsonl"))) == 4

    def test_look_at_images_with_gradcam(self):
        (picture,) = show("test.safetensors", students="kept", figure=["gradcam:count=3"])
        table = picture.drawing.table
        assert column(table, "student") == ["hard"] * 3 + ["soft"] * 3
        assert column(table, "image") == [0, 1, 2] * 2
        about, path = saved_students.read_all("kept")[0]
        network = build(
            about.net,
            normalisation(about.mean, about.std),
            channels=1,
            size=8,
            num_classes=3,
            seed=0,
        ).eval()
        weights = saved_students.weights_of(path)
        network.body.load_state_dict({n: torch.from_numpy(w) for n, w in weights.items()})
        images = to_unit(torch.from_numpy(np.array(formats.load("test.safetensors")[0].images[:3])))
        maps = grad_cam(network.body, network.prepare(images)).numpy()
        heights = (np.arange(8) + 0.5) / 8
        centres = [float((one.sum(1) * heights).sum() / one.sum()) for one in maps]
        assert column(table, "centre_y")[:3] == pytest.approx(centres, rel=1e-4)

    def test_damaged_and_foreign_files_are_refused(self, inside):
        kept = inside / "kept"
        kept.mkdir()
        with pytest.raises(InvalidInputError, match="no student"):
            show("test.safetensors", students=str(kept), figure=["gradcam"])
        path = kept / "a.safetensors"
        path.write_bytes(b"hello")
        with pytest.raises(InvalidInputError, match=r"a\.safetensors"):
            saved_students.read_all(kept)
        content = bytearray(next(Path("kept").iterdir()).read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match="damaged"):
            saved_students.read_all(kept)

    def test_of_another_task_are_refused(self):
        with pytest.raises(IncompatibleError, match="other classes"):
            show(make_bundle(classes=4), students="kept", figure=["gradcam"])
        with pytest.raises(IncompatibleError, match="expects"):
            show(make_bundle(size=9), students="kept", figure=["gradcam"])
