"""What every learner has: the images, students that train on them, and the registry."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ddlabel.core import rng
from ddlabel.core.config import LearnOptions
from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Registry, parse_spec
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.augmentations import augment_of
from ddlabel.methods.nets import Network, build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training.batches import BatchTransform, image_batches
from ddlabel.training.device_data import DeviceBundle, DeviceLabels
from ddlabel.training.runtime import pick_device
from ddlabel.training.unroll import Update, unroll, without_layer_state


@dataclass(frozen=True, kw_only=True)
class StepSize:
    """The learning rate of a student that is learned with the labels.

    Attributes:
        value: The rate, without axes.
        lr: The rate at which it is learned itself.
    """

    value: nn.Parameter
    lr: float


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a learner lowers.

    Attributes:
        loss: Returns the outer loss of labels [N, K] at an iteration.
        step_size: What is learned besides the labels, or None.
        notes: What people should know before it is lowered.
    """

    loss: Callable[[Tensor, int], Tensor]
    step_size: StepSize | None = None
    notes: Sequence[str] = ()


learners: Registry[Callable[..., Objective]] = Registry("learner")


class Task:
    """The images whose labels are learned, and how students are trained on them.

    Attributes:
        bundle: The images and their labels.
        options: The options.
        data: The bundle without its views, on the device.
    """

    def __init__(self, bundle: Bundle, options: LearnOptions) -> None:
        self.bundle = bundle
        self.options = options
        num_channels = bundle.images.shape[1]
        device = pick_device(options.device)
        self._augment = augment_of(
            options.augment,
            channels=num_channels,
            size=bundle.side,
            prepare=normalisation(bundle.pixels.mean, bundle.pixels.std).to(device),
        )
        self.data = DeviceBundle.of(bundle.without_views(), device)

    @property
    def meta(self) -> LabelMeta:
        """The meaning of the labels that are learned; probabilities may have any sum."""
        is_mass = self.options.space == "probs"
        source = parse_spec(self.options.method)[0]
        return LabelMeta(space="mass" if is_mass else "logits", source=source)

    def student(self, iteration: int) -> Network:
        """Return a network with the fresh weights of an iteration.

        Raises:
            UsageError: The network keeps a state besides its weights.
        """
        pixels = self.bundle.pixels
        network = build(
            self.options.net,
            normalisation(pixels.mean, pixels.std),
            channels=self.bundle.images.shape[1],
            size=self.bundle.side,
            num_classes=self.data.num_classes,
            seed=rng.stream(self.options.seed, "weights", iteration),
        )
        return self.ready(network)

    def ready(self, network: Network) -> Network:
        """Return a network on the device, as a function of its weights and a batch alone."""
        without_layer_state(network.body)
        return network.to(self.data.device)

    def train(
        self,
        network: Network,
        weights: Tensor,
        labels: Tensor,
        update: Update,
        *,
        iteration: int,
        batch_size: int,
        steps: int,
        window: int,
    ) -> Tensor:
        """Return the weights [P] after training on the images with these labels [N, K].

        See `unroll` for `steps` and `window`.
        """
        learned = DeviceLabels(values=labels, meta=self.meta)
        data = replace(self.data, soft=learned)
        batch = image_batches(
            data,
            BatchTransform(prepare=network.prepare, augment=self._augment),
            data.soft_target,
            batch_size=batch_size,
            seed=rng.stream(self.options.seed, "student", iteration),
        )
        return unroll(network.body, weights, batch, update, steps=steps, window=window)


def check_at_least(method: str, low: float, **options: float) -> None:
    """Check that options of a learner are at least `low`.

    Raises:
        UsageError: One is not.
    """
    for name, value in options.items():
        if not value >= low:
            option = name.replace("_", "-")
            raise UsageError(f"--method {method}: {option} is {value:g}: expected at least {low:g}")
