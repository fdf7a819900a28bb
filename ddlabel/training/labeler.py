"""Experts as networks: rebuilt from their runs, and asked for labels."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ddlabel.core import rng
from ddlabel.core.errors import IncompatibleError
from ddlabel.data.expert_run import Checkpoints, ExpertInfo, ExpertRun
from ddlabel.data.run_files import Arrays
from ddlabel.methods.nets import Network, build
from ddlabel.methods.nets.prepare import Prepare, normalisation
from ddlabel.training.cost import Cost, network_cost
from ddlabel.training.memory import ChunkedFunction
from ddlabel.training.runtime import Runtime

# The least norm to divide by, for an image whose logits are all 0.
_SMALLEST_NORM = 1e-12


def network_of(info: ExpertInfo, run: ExpertRun | None = None) -> Network:
    """Build the network of an expert with fresh weights; with `run`, its whitening is read too."""
    prepare = normalisation(info.mean, info.std)
    if run is not None and info.zca:
        arrays = {name: torch.from_numpy(array) for name, array in run.whitening().items()}
        prepare = Prepare(arrays["mean"], torch.ones(1), arrays["matrix"])
    return build(
        info.net,
        prepare,
        channels=info.channels,
        size=info.size,
        num_classes=len(info.classes),
        seed=rng.stream(info.seed, "weights"),
    )


def expert_cost(info: ExpertInfo, *, backward: bool) -> Cost:
    """Count what one image costs through an expert's network."""
    return network_cost(network_of(info).body, _image_shape(info), backward=backward)


def combine(logits: Tensor, weights: Tensor, *, mean: str, temperature: float = 1.0) -> Tensor:
    """Combine the logits [E, B, K] of E experts to [B, K], with `weights` [E] that sum to 1.

    `mean` is one of

    - `logits`: the weighted mean of the logits (Label-Worth, section 5.1);
    - `balanced`: the same after the logits of an image were scaled, for each expert, to the
      experts' mean norm, so that none drowns the others (G-VBSM's norm-balanced logits);
    - `probs`: z with softmax(z / temperature) = weighted mean of softmax(z_e / temperature).
    """
    weights = weights.view(-1, 1, 1)
    if mean == "probs":
        log_probs = (logits / temperature).log_softmax(2)
        return temperature * (weights.log() + log_probs).logsumexp(0)
    if mean == "balanced":
        norms = logits.norm(dim=2, keepdim=True)
        logits = logits * (norms.mean(0) / norms.clamp_min(_SMALLEST_NORM))
    return (weights * logits).sum(0)


class Labeler:
    """Labels images in unit space with a checkpoint, or with an ensemble of them by `combine`.

    Attributes:
        runtime: Where and how the networks run.
        experts: How each network wants its images prepared, and the network as a stack of one.
        bodies: The networks themselves.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        runtime: Runtime,
        *,
        num_images: int,
        mean: str = "logits",
        weights: Sequence[float] = (),
        temperature: float = 1.0,
    ) -> None:
        self.runtime = runtime
        self.experts = []
        self.bodies = []
        for run, step in checkpoints:
            network = _trained_network(run, step).to(runtime.device).eval()
            shape = _image_shape(run.about)
            forward = runtime.forward([network.body], num_images=num_images, shape=shape)
            self.experts.append((network.prepare, forward))
            self.bodies.append(network.body)
        if not weights:
            weights = [1.0] * len(checkpoints)
        shares = torch.tensor(weights, device=runtime.device)
        self._label_chunks = ChunkedFunction(self._label)
        self._combine = partial(
            combine, weights=shares / shares.sum(), mean=mean, temperature=temperature
        )

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return logits [B, K] of images [B, C, H, W] in unit space."""
        with self.runtime.arithmetic():
            return self._label_chunks(images)

    def after(self, prepared: Prepare) -> Callable[[Tensor], Tensor]:
        """Return the same for images that were prepared, and maybe augmented, for another network.

        The preparation is undone for the experts that prepare their images in another way.
        """
        are_same = [prepare.same_as(prepared) for prepare, _ in self.experts]

        @torch.no_grad()
        def label(images: Tensor) -> Tensor:
            logits = []
            with self.runtime.arithmetic():
                unit_images = images if all(are_same) else prepared.undo(images)
                for (prepare, forward), is_same in zip(self.experts, are_same, strict=True):
                    inputs = images if is_same else prepare(unit_images)
                    logits.append(forward(inputs[None])[0])
                return self._combine(torch.stack(logits))

        return label

    def _label(self, images: Tensor) -> Tensor:
        """Return logits [B, K] of as many images as a network takes at once."""
        logits = [forward(prepare(images)[None])[0] for prepare, forward in self.experts]
        return self._combine(torch.stack(logits))


def _trained_network(run: ExpertRun, step: int) -> Network:
    """Return the network of a checkpoint; raise IncompatibleError if its weights do not fit it."""
    network = network_of(run.about, run)
    load_weights(network, run, step, run.weights(step))
    return network


def load_weights(network: Network, run: ExpertRun, step: int, weights: Arrays) -> None:
    """Give the network of a run the weights after a step.

    Raises:
        IncompatibleError: They do not fit it.
    """
    state = {key: torch.from_numpy(array) for key, array in weights.items()}
    try:
        network.body.load_state_dict(state)
    except RuntimeError as error:
        raise IncompatibleError(
            f"{run.folder}: the weights of step {step} do not fit {run.about.net}"
        ) from error


def _image_shape(info: ExpertInfo) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of an expert's images."""
    return info.channels, info.size, info.size
