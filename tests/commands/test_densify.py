"""`densify`: labels of views are those that the expert gives the cut and resized image."""

from __future__ import annotations

import numpy as np
import torch

from ddlabel.data import formats
from ddlabel.data.expert_run import ExpertRun
from ddlabel.training.labeler import network_of


def test_label_of_a_view_is_the_experts_for_the_cut_and_resized_image(cli, digits):
    words = ("--expert", "expert", "--epoch", "last", "--precision", "fp32")
    bundles = ("few.safetensors", "dense.safetensors")
    cli("densify", *bundles, *words, "--views", "grid:n=2,r=0.5")
    dense = formats.read("dense.safetensors")
    run = ExpertRun(digits / "expert")
    network = network_of(run.about)
    weights = run.weights(run.step_of("last"))
    network.body.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    # View 2 of the grid is the lower left quarter.
    cut = torch.from_numpy(dense.images[3:4, :, 4:, :4] / np.float32(255))
    resized = torch.nn.functional.interpolate(cut, (8, 8), mode="bilinear", align_corners=False)
    with torch.no_grad():
        (expected,) = network.eval()(resized)
    np.testing.assert_allclose(dense.dense.values[3, 2], expected, atol=1e-5)
