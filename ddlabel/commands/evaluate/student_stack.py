"""Students of one kind in the networks in which they are trained side by side."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ddlabel.commands.evaluate.monitor import StudentMonitor, Weights
from ddlabel.methods.metrics import correct
from ddlabel.methods.nets import Network
from ddlabel.training.device_data import DeviceBundle, predict
from ddlabel.training.stacking import Forward


@dataclass(frozen=True, kw_only=True)
class StudentStack:
    """S networks, their forward pass as one function, and a monitor for the student in each."""

    networks: Sequence[Network]
    forward: Forward
    monitors: Sequence[StudentMonitor]

    def record(self, losses: Sequence[float]) -> None:
        """Record the mean loss of every student since the last call."""
        for monitor, loss in zip(self.monitors, losses, strict=True):
            monitor.end_epoch(loss)

    def check(self, epoch: int, data: DeviceBundle) -> None:
        """Test the students on `data` and tell their monitors the accuracies."""
        logits = self._logits(data, [monitor.weights() for monitor in self.monitors])
        for monitor, student_logits in zip(self.monitors, logits, strict=True):
            num_correct = int(correct(student_logits, data.hard))
            monitor.check(epoch, num_correct / len(data))

    def test_logits(self, test: DeviceBundle) -> Tensor:
        """Return logits [S, N, K] of the students at the epoch that counts."""
        return self._logits(test, [monitor.weights_to_test() for monitor in self.monitors])

    def _logits(self, data: DeviceBundle, weights: Sequence[Weights]) -> Tensor:
        """Return logits [S, N, K] of the networks with other weights, and restore their own."""
        weights_before = [copy.deepcopy(network.body.state_dict()) for network in self.networks]
        for network, other in zip(self.networks, weights, strict=True):
            network.body.load_state_dict(other)
        logits = predict(self.networks, self.forward, data)
        for network, before in zip(self.networks, weights_before, strict=True):
            network.body.load_state_dict(before)
        return logits
