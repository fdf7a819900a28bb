"""Protocols from end to end: every one of them trains a student of a tiny bundle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from experts import write_run
from samples import make_bundle, with_arrays

import ddlabel
from ddlabel.commands.evaluate.experiment import Experiment
from ddlabel.commands.evaluate.plan import plan_experiments
from ddlabel.commands.reporter import SILENT
from ddlabel.core import protocols
from ddlabel.core.config import EvaluateOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import Entry
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.nets.registry import nets

EVALUATION = [name for name in protocols.names() if protocols.read(name).command == "evaluate"]
QUICK = {"epochs": 1, "seeds": 1, "compile": "off", "precision": "fp32"}
SMALL_NET = "convnet-d1:width=4"


def cifar(ipc: int = 1, classes: int = 10, size: int = 32) -> Bundle:
    """Noise of the form of CIFAR, with soft labels and dense labels of two views."""
    images = ipc * classes
    bundle = make_bundle(images=images, classes=classes, size=size, channels=3)
    boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], np.float32)
    values = np.random.default_rng(1).normal(size=(images, 2, classes)).astype(np.float32)
    return with_arrays(
        bundle, dense_labels=values, dense_boxes=boxes, dense=LabelMeta(space="logits")
    )


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "expert", cifar(), net=SMALL_NET)


def planned(bundle: Bundle, **options) -> Experiment:
    """The settled experiment of `evaluate`, without training."""
    given = {"bundle": bundle, "test": bundle, **QUICK, **options}
    grid = EvaluateOptions.load("evaluate", None, given)
    (experiment,) = plan_experiments(grid, SILENT).cells
    return experiment


@pytest.mark.parametrize("name", EVALUATION)
def test_every_protocol_trains_a_student_and_the_record_says_what_was_overridden(name, teacher):
    preset = protocols.read(name).options
    is_online = preset.get("labels", "online") == "online"
    options = {"teacher": [teacher]} if is_online else {}
    evaluation = ddlabel.evaluate(
        cifar(), test=cifar(), protocol=name, net=SMALL_NET, **QUICK, **options
    )
    (record,) = evaluation.records
    assert 0 <= record.result["accuracy"] <= 1
    assert record.options["protocol"] == name
    for option, value in preset.items():
        if option not in ("net", "epochs"):
            assert record.options[option] == value or option in ("batch_size", "optimizer")
    # The small network and the one epoch stand for the protocol's: both are in the record.
    assert (record.options["net"], record.options["epochs"]) == (SMALL_NET, 1)
    assert record.protocol_overridden["epochs"] == preset["epochs"]
    assert record.protocol_overridden["net"].startswith(
        ("convnet-d3", "resnet18", "torchvision-resnet18")
    )


class TestRows:
    def test_depend_on_the_bundle(self, teacher):
        online = {"protocol": "rded", "net": SMALL_NET, "teacher": [teacher]}
        assert planned(cifar(), **online).options.batch_size == 10
        assert planned(cifar(10), **online).options.batch_size == 50

    def test_depend_on_the_teacher(self, tmp_path):
        bundle = cifar(10, classes=100)
        run = write_run(tmp_path / "run", bundle, net="convnet-d3:width=4")
        experiment = planned(bundle, protocol="rded", teacher=[run])
        assert experiment.options.batch_size == 25
        assert experiment.options.net == "convnet-d3:norm=batch"

    def test_depend_on_the_data_set_that_the_user_names(self):
        named = planned(cifar(), protocol="gift", dataset="imagenet-1k", epochs=None)
        assert named.options.epochs == 300
        assert named.options.dataset == "imagenet-1k"
        assert planned(cifar(), protocol="gift", epochs=None).options.epochs == 1000

    def test_depend_on_the_factor_that_a_bundle_says(self, teacher):
        online = {"protocol": "rded", "net": SMALL_NET, "teacher": [teacher]}
        entry = Entry(command="import", version="1", facts={"factor": 2})
        stitched = replace(cifar(), history=(entry,))
        assert "factor=1" in planned(cifar(), **online).options.augment
        augment = "patch-shuffle:factor=2,strips=true+random-resized-crop:low=0.5+flip"
        assert planned(stitched, **online).options.augment == augment
        # What the user gives wins, and the record says what it replaced.
        given = planned(stitched, **online, augment="none")
        assert given.options.augment == "none"
        assert given.preset["augment"] == augment

    def test_a_factor_that_no_row_has_is_refused(self, teacher):
        entry = Entry(command="import", version="1", facts={"factor": 8})
        stitched = replace(cifar(), history=(entry,))
        with pytest.raises(UsageError, match=r"no --augment for .*factor 8 .*factor 2.*give"):
            planned(stitched, protocol="rded", net=SMALL_NET, teacher=[teacher])

    def test_what_no_row_says_is_refused_before_any_training(self, teacher):
        with pytest.raises(UsageError, match=r"ipc 2, .*rows for ipc 1; .*give --batch-size"):
            planned(cifar(2), protocol="rded", teacher=[teacher])
        given = planned(cifar(2), protocol="rded", teacher=[teacher], batch_size=8)
        assert given.options.batch_size == 8
        assert given.preset.get("batch_size") is None


@pytest.mark.parametrize("name", protocols.names())
def test_the_networks_that_a_protocol_names_exist(name):
    protocol = protocols.read(name)
    set_by = [protocol.options, *(row.set for row in protocol.rows)]
    specs = [options["net"] for options in set_by if "net" in options]
    for row in protocol.rows:
        for fact in ("net", "teacher"):
            wanted = row.when.get(fact, [])
            specs += [wanted] if isinstance(wanted, str) else wanted
    for spec in specs:
        nets.resolve(spec)
