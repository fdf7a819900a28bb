"""Experts as networks: rebuilt from their runs, and asked for labels."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ddlabel.core import rng
from ddlabel.core.errors import IncompatibleError
from ddlabel.data.expert_run import ExpertInfo, ExpertRun
from ddlabel.methods.nets import Network, build
from ddlabel.methods.nets.prepare import Prepare, normalisation
from ddlabel.training.cost import flops
from ddlabel.training.runtime import Runtime, batches_of


def network_of(about: ExpertInfo, run: ExpertRun | None = None) -> Network:
    """The network of a run with fresh weights; with `run`, its whitening is read too."""
    prepare = normalisation(about.mean, about.std)
    if run is not None and about.zca:
        arrays = {name: torch.from_numpy(array) for name, array in run.whitening().items()}
        prepare = Prepare(arrays["mean"], torch.ones(1), arrays["matrix"])
    seed = rng.stream(about.seed, "weights")
    return build(
        about.net,
        prepare,
        channels=about.channels,
        size=about.size,
        num_classes=len(about.classes),
        seed=seed,
    )


def network_flops(about: ExpertInfo, *, backward: bool) -> int:
    """Floating-point operations of a run's network for one image, a multiplication and an addition being two."""
    return flops(
        network_of(about).body, (about.channels, about.size, about.size), backward=backward
    )


def combine(logits: Tensor, weights: Tensor, *, how: str, temperature: float = 1.0) -> Tensor:
    """Logits [B, K] of an ensemble out of its experts' [E, B, K], with `weights` [E] that sum to 1.

    `logits`: their mean (Label-Worth, section 5.1). `balanced`: the same after each expert's logits of an image were
    scaled to the experts' mean norm, so that none drowns the others (G-VBSM's norm-balanced logits). `probs`: z with
    softmax(z / temperature) = mean of softmax(z_e / temperature).
    """
    weights = weights.view(-1, 1, 1)
    if how == "probs":
        return temperature * (weights.log() + (logits / temperature).log_softmax(2)).logsumexp(0)
    if how == "balanced":
        norms = logits.norm(dim=2, keepdim=True)
        logits = logits * (norms.mean(0) / norms.clamp_min(1e-12))
    return (weights * logits).sum(0)


class Labeler:
    """One checkpoint, or an ensemble of them: images in unit space → logits (see `combine`)."""

    def __init__(
        self,
        picks: Sequence[tuple[ExpertRun, int]],
        machine: Runtime,
        *,
        images: int,
        how: str = "logits",
        weights: Sequence[float] = (),
        temperature: float = 1.0,
    ) -> None:
        self.experts = []
        self.bodies = []
        for run, step in picks:
            network = network_of(run.about, run)
            state = {name: torch.from_numpy(array) for name, array in run.weights(step).items()}
            try:
                network.body.load_state_dict(state)
            except RuntimeError as error:
                raise IncompatibleError(
                    f"{run.folder}: the weights of step {step} do not fit {run.about.net}"
                ) from error
            network.to(machine.device).eval()
            shape = (run.about.channels, run.about.size, run.about.size)
            forward = machine.forward([network.body], images=images, shape=shape)
            self.experts.append((network.prepare, forward))
            self.bodies.append(network.body)
        share = torch.tensor(weights or [1.0] * len(picks), device=machine.device)
        self._combine = partial(
            combine, weights=share / share.sum(), how=how, temperature=temperature
        )

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, C, H, W] in unit space."""
        return torch.cat([self._batch(part) for part in batches_of(images)])

    def _batch(self, images: Tensor) -> Tensor:
        return self._combine(
            torch.stack([forward(prepare(images)[None])[0] for prepare, forward in self.experts])
        )

    def after(self, prepared: Prepare) -> Callable[[Tensor], Tensor]:
        """The same for images that were prepared, and maybe augmented, for another network."""
        same = [prepare.same_as(prepared) for prepare, _ in self.experts]

        @torch.no_grad()
        def label(images: Tensor) -> Tensor:
            unit = images if all(same) else prepared.undo(images)
            each = zip(self.experts, same, strict=True)
            return self._combine(
                torch.stack(
                    [
                        forward((images if s else prepare(unit))[None])[0]
                        for (prepare, forward), s in each
                    ]
                )
            )

        return label
