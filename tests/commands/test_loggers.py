"""`--log`: what TensorBoard's own reader and a stand-in of wandb get, and missing extras."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from experts import train_small_expert
from samples import make_bundle

import ddlabel
from ddlabel.commands.evaluate.evaluation import Evaluation
from ddlabel.core.errors import UsageError


def tiny_students(**options) -> Evaluation:
    bundle = make_bundle(20)
    settings = {"net": "convnet-d1:width=4", "epochs": 2, "seeds": 1, "precision": "fp32"}
    settings |= {"labels": "hard", "loss": "ce", "compile": "off"}
    return ddlabel.evaluate(bundle, test=bundle, **settings | options)


def read_scalars(folder: Path) -> dict[str, dict[str, dict[int, float]]]:
    """The numbers in event files, by series, name and step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    series = {}
    for path in sorted(folder.iterdir()):
        events = EventAccumulator(str(path))
        events.Reload()
        series[path.name] = {
            name: {event.step: event.value for event in events.Scalars(name)}
            for name in events.Tags()["scalars"]
        }
    return series


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestTensorboard:
    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("tensorboard")

    def test_the_checkpoints_of_an_expert_are_its_records(self, tmp_path):
        spec = f"tensorboard:folder={tmp_path / 'log'}"
        run = train_small_expert(make_bundle(20), tmp_path / "run", epochs=2, log=spec)
        scalars = read_scalars(tmp_path / "log")["run"]
        for name in ("epoch", "loss", "train_accuracy"):
            expected = {record["step"]: record[name] for record in run.metrics()}
            assert scalars[name] == pytest.approx(expected)

    def test_the_curves_of_a_student_are_those_of_its_record(self, tmp_path):
        spec = f"tensorboard:folder={tmp_path / 'log'}"
        result = tiny_students(curve=True, log=spec)
        figures = result.records[0].result
        ((name, scalars),) = read_scalars(tmp_path / "log").items()
        assert name == "1-bundle-hard-ce-seed-0"
        curve = figures["curve"]
        assert scalars["loss"] == pytest.approx(dict(enumerate(curve["loss"], start=1)))
        assert list(scalars["test_accuracy"]) == curve["checked_epochs"]
        assert scalars["final_accuracy"] == {2: pytest.approx(figures["accuracy"])}

    def test_logging_changes_nothing(self, tmp_path):
        logged = tiny_students(log=f"tensorboard:folder={tmp_path / 'log'}").records[0]
        plain = tiny_students().records[0]
        assert (logged.key, logged.result, logged.options) == (
            plain.key,
            plain.result,
            plain.options,
        )


class StandIn:
    """wandb as far as the logger uses it."""

    def __init__(self) -> None:
        self.started: list[dict] = []
        self.logged: list[dict] = []
        self.num_finished = 0

    def init(self, **settings) -> SimpleNamespace:
        self.started.append(settings)
        return SimpleNamespace(log=self.logged.append, finish=self._finish)

    def _finish(self) -> None:
        self.num_finished += 1


class TestWandb:
    @pytest.fixture
    def package(self, monkeypatch) -> StandIn:
        stand_in = StandIn()
        monkeypatch.setitem(sys.modules, "wandb", stand_in)
        return stand_in

    def test_every_student_is_a_run_that_is_finished(self, package):
        result = tiny_students(seeds=2, log="wandb:project=mine")
        assert [run["name"] for run in package.started] == [
            "1 bundle hard ce seed-0",
            "1 bundle hard ce seed-1",
        ]
        assert {(run["project"], run["mode"]) for run in package.started} == {("mine", "offline")}
        accuracies = [numbers["final_accuracy"] for numbers in package.logged]
        assert accuracies == [record.result["accuracy"] for record in result.records]
        assert package.num_finished == 2

    def test_it_is_online_only_if_told(self, package):
        tiny_students(log="wandb:mode=online")
        assert package.started[0]["mode"] == "online"

    def test_runs_are_finished_if_training_fails(self, package, tmp_path):
        with pytest.raises(ddlabel.InvalidInputError):
            train_small_expert(
                make_bundle(20), tmp_path / "run", epochs=9, optimizer="sgd:lr=1e4", log="wandb"
            )
        assert package.num_finished == len(package.started)


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")]
)
def test_a_missing_package_is_named_before_any_training(monkeypatch, tmp_path, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"pip install 'ddlabel\[{name}\]'"):
        train_small_expert(make_bundle(20), tmp_path / "run", log=name)
    assert not (tmp_path / "run").exists()


def test_a_misspelt_logger_is_refused(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'tensorboard'"):
        train_small_expert(make_bundle(20), tmp_path / "run", log="tensorbord")
