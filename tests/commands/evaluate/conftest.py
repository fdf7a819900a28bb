from __future__ import annotations

import pytest
from students import easy_bundle

import ddlabel
from ddlabel.commands.checkpoints import pick_checkpoints
from ddlabel.data.expert_run import Checkpoints, ExpertRun


@pytest.fixture(scope="session")
def expert(tmp_path_factory) -> ExpertRun:
    """An expert of the easy images with two checkpoints."""
    (run,) = ddlabel.train_expert(
        easy_bundle(60, seed=5),
        tmp_path_factory.mktemp("experts") / "expert",
        net="convnet-d1:width=8",
        epochs=2,
        batch_size=20,
        augment="none",
        compile="off",
        precision="fp32",
    )
    return run


@pytest.fixture
def teacher(expert) -> Checkpoints:
    """The last checkpoint of the expert."""
    return pick_checkpoints(easy_bundle(), [expert], "last")
