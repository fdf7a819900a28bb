"""Labels by truncated back-propagation through the training of students."""

import numpy as np
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from ddlabel.commands.learners.task import Objective, Task, check_at_least, learners
from ddlabel.core import rng
from ddlabel.core.config import gift_batch_size
from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle, check_same_task
from ddlabel.data.labels import Array
from ddlabel.methods.nets import Network
from ddlabel.training.device_data import to_device, to_unit
from ddlabel.training.unroll import functional_logits, updates


@learners.add
def bptt(
    task: Task,
    *,
    real: Bundle,
    steps: int = 40,
    window: int = 20,
    real_batch: int = 500,
    vary: bool = False,
) -> Objective:
    """Cross-entropy on real images of a fresh student after `steps` (Label-Worth, Algorithm 1).

    Gradients pass through the last `window` steps. With `vary` the number of steps is drawn anew
    for each student, from `window` to `steps` (RaT-BPTT).

    Raises:
        UsageError: An option is out of its range, or the network keeps a state.
        IncompatibleError: The real images have other classes or another shape.
    """
    if not 1 <= window <= steps:
        raise UsageError(
            f"--method bptt: the window is {window}: expected 1 to the number of steps, {steps}"
        )
    check_at_least("bptt", 1, real_batch=real_batch)
    check_same_task("the bundle of --real", task.bundle, real)
    options = task.options
    update = updates.resolve(options.inner)
    batch_size = options.batch_size or gift_batch_size(len(task.data))
    # A network that cannot be used is refused before the first iteration.
    task.student(0)

    def outer_loss(labels: Tensor, iteration: int) -> Tensor:
        network = task.student(iteration)
        generator = np.random.default_rng(rng.stream(options.seed, "real", iteration))
        num_steps = int(generator.integers(window, steps, endpoint=True)) if vary else steps
        weights = task.train(
            network,
            parameters_to_vector(network.body.parameters()),
            labels,
            update,
            iteration=iteration,
            batch_size=batch_size,
            steps=num_steps,
            window=window,
        )
        rows = generator.integers(len(real), size=real_batch)
        return _loss_on(real, rows, network, weights)

    return Objective(loss=outer_loss)


def _loss_on(real: Bundle, rows: Array, network: Network, weights: Tensor) -> Tensor:
    """Return the cross-entropy of a network with these weights [P] on some real images."""
    images = to_device(real.images[rows], weights.device)
    hard = to_device(real.hard_labels[rows], weights.device)
    logits = functional_logits(network.body, weights, network.prepare(to_unit(images)))
    return F.cross_entropy(logits, hard)
