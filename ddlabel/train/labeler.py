"""Experts as networks: rebuilt from their runs, and asked for labels."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ddlabel import rng
from ddlabel.errors import IncompatibleError
from ddlabel.expert import About, Run
from ddlabel.nets import Network, build
from ddlabel.nets.prepare import Prepare, normalisation
from ddlabel.train.device import compiled


def network_of(about: About, run: Run | None = None) -> Network:
    """The network of a run with fresh weights; with `run`, its whitening is read too."""
    prepare = normalisation(about.mean, about.std)
    if run is not None and about.zca:
        arrays = {name: torch.from_numpy(array) for name, array in run.whitening().items()}
        prepare = Prepare(arrays["mean"], torch.ones(1), arrays["matrix"])
    seed = rng.stream(about.seed, "weights")
    return build(about.net, prepare, channels=about.channels, size=about.size, classes=len(about.classes), seed=seed)


class Labeler:
    """One checkpoint, or an ensemble of them: images in unit space → mean logits.

    The mean is over logits, before any softmax (Label-Worth, section 5.1).
    """

    def __init__(self, picks: Sequence[tuple[Run, int]], *, device: torch.device, compile: str, images: int) -> None:  # noqa: A002
        self.experts = []
        self.bodies = []
        for run, step in picks:
            network = network_of(run.about, run)
            weights = {name: torch.from_numpy(array) for name, array in run.weights(step).items()}
            try:
                network.body.load_state_dict(weights)
            except RuntimeError as error:
                raise IncompatibleError(
                    f"{run.folder}: the weights of step {step} do not fit {run.about.net}"
                ) from error
            network.to(device).eval()
            forward = compiled(network.body, compile, images=images, size=run.about.size)
            self.experts.append((network.prepare, forward))
            self.bodies.append(network.body)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Mean logits [B, K] of images [B, C, H, W] in unit space."""
        return torch.stack([forward(prepare(images)) for prepare, forward in self.experts]).mean(0)

    def after(self, prepared: Prepare) -> Callable[[Tensor], Tensor]:
        """The same for images that were prepared, and maybe augmented, for another network."""
        same = [prepare.same_as(prepared) for prepare, _ in self.experts]

        @torch.no_grad()
        def label(images: Tensor) -> Tensor:
            unit = images if all(same) else prepared.undo(images)
            each = zip(self.experts, same, strict=True)
            return torch.stack([forward(images if s else prepare(unit)) for (prepare, forward), s in each]).mean(0)

        return label
