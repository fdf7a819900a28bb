from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch import nn

from ddlabel.methods.nets import nets


@pytest.fixture
def linear_net() -> Iterator[None]:
    """The network spec `linear`: one linear layer."""

    def make(*, channels: int, size: int, num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, num_classes))

    nets["linear"] = make
    yield
    del nets["linear"]
