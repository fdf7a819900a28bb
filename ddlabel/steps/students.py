"""Students: trained from scratch on a case's labels, and tested."""

import copy
import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ddlabel import rng
from ddlabel.bundle import Bundle
from ddlabel.config import EvaluateOptions
from ddlabel.metrics import confusion, correct, student_figures
from ddlabel.nets import Network
from ddlabel.optim import optimizer_of, rate_of
from ddlabel.provenance import canonical_json
from ddlabel.steps.cases import Case, Record, batches, loss_for, steps_per_epoch, student, training_flops
from ddlabel.train.batches import Teach
from ddlabel.train.data import Data, predict
from ddlabel.train.device import Forward, compiled, pick_device
from ddlabel.train.fit import Progress, fit
from ddlabel.train.labeler import Labeler

# An online teacher's labels of pictures that other students of the same seed will see too.
_MEMO_BYTES = 1 << 29


class Bench:
    """The device, and what stays on it from one student to the next: data, networks, teachers and their labels."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.device = pick_device(cases[0].options.device)
        self._several = len(cases) > 1
        self._kept: dict[Any, Any] = {}
        self._of_seed: dict[Any, Any] = {}
        self._memo_bytes = 0

    def forget(self) -> None:
        """Drop what belongs to one seed: bundles drawn for it, and the teachers' labels of its pictures."""
        self._of_seed.clear()
        self._memo_bytes = 0

    def data(self, bundle: Bundle) -> Data:
        """A bundle on the device."""
        # The bundle is kept with its data: its identity must stay its own.
        data: Data = _keep(self._of_seed, id(bundle), lambda: (Data.of(bundle, self.device), bundle))[0]
        return data

    def network(self, case: Case, bundle: Bundle, images: int) -> tuple[Network, Forward]:
        """One network for all students of a kind: what was compiled for it serves them all."""
        shape = (*bundle.images.shape[1:], len(bundle.classes))

        def make() -> tuple[Network, Forward]:
            network = student(case, bundle, 0).to(self.device)
            return network, compiled(network.body, case.options.compile, images=images, size=shape[1])

        key = ("network", case.options.net, shape, bundle.pixels, case.digests.get("zca"))
        pair: tuple[Network, Forward] = _keep(self._kept, key, make)
        return pair

    def labeler(self, case: Case, images: int) -> Labeler:
        """The case's teacher, which will see so many images."""
        key = ("teacher", *((str(run.folder), step) for run, step in case.teacher))
        make = partial(Labeler, case.teacher, device=self.device, compile=case.options.compile, images=images)
        labeler: Labeler = _keep(self._kept, key, make)
        return labeler

    def teach(self, label: Callable[[Tensor], Tensor], pictures: str, columns: Sequence[int]) -> Teach:
        """A labeler's logits for some classes; `pictures` stands for the images that it will be shown."""
        chosen = torch.tensor(columns, device=self.device)

        def at(images: Tensor, step: int) -> Tensor:
            known: Tensor | None = self._of_seed.get((pictures, step))
            if known is None:
                known = label(images)[:, chosen]
                if self._several and self._memo_bytes < _MEMO_BYTES:
                    self._of_seed[pictures, step] = known
                    self._memo_bytes += known.nbytes
            return known

        return at

    def flops(self, case: Case, bundle: Bundle) -> int:
        """Floating-point operations of training on a bundle."""
        kind = ("flops", case.options, bundle.images.shape, len(bundle.classes))
        known: int = _keep(self._kept, kind, partial(training_flops, case, bundle))
        return known


def run(bench: Bench, case: Case, seed: int, progress: Progress) -> tuple[Record, Record]:
    """Train the student of a seed: its figures on the test images, and what it cost.

    A class-incremental one is trained from scratch for each number of classes seen, in an order of the seed, on all
    their images (GDumb, Prabhu et al. 2020); its accuracy is the mean over the steps.
    """
    started = time.perf_counter()
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    bundle, classes = case.bundle(seed), len(case.test.classes)
    if case.options.continual is None:
        figures = _train(bench, case, bundle, case.test, range(classes), seed, progress)
        flops = figures.pop("flops")
    else:
        order = np.random.default_rng(rng.stream(seed, "classes")).permutation(classes)
        ends = np.cumsum([len(part) for part in np.array_split(order, case.options.continual)]).tolist()
        each = []
        for end in ends:
            seen = sorted(order[:end].tolist())
            parts = (bundle.of_classes(seen), case.test.of_classes(seen))
            each.append({"classes": end} | _train(bench, case, *parts, seen, seed, progress))
        flops = sum(step.pop("flops") for step in each)
        accuracy = float(np.mean([step["accuracy"] for step in each]))
        figures = {"accuracy": accuracy, "class_order": order.tolist(), "steps": each}
    cost = {"seconds": time.perf_counter() - started, "peak_memory_bytes": _peak_memory(bench.device), "flops": flops}
    return figures, cost


def _train(
    bench: Bench, case: Case, bundle: Bundle, test: Bundle, columns: Sequence[int], seed: int, progress: Progress
) -> Record:
    """Train and test one student on the classes `columns`."""
    options = case.options
    tested = bench.data(test)
    looked_at = tested if options.select == "best-on-test" else None
    if options.select == "val":
        held_out, bundle = _hold_out(bundle, options.holdout, seed)
        looked_at = bench.data(held_out)
    data = bench.data(bundle)
    per_epoch = steps_per_epoch(options, len(bundle))
    images = per_epoch * options.epochs * (options.batch_size or 1)
    network, forward = bench.network(case, bundle, images * options.seeds)
    network.body.load_state_dict(student(case, bundle, seed).body.state_dict())
    network.train()
    labeler = bench.labeler(case, images * options.seeds) if options.labels == "online" else None
    teach = None
    if labeler is not None:
        names = ("augment", "mix", "batch_size", "teacher_epoch", "select", "holdout", "continual")
        shown = [getattr(options, name) for name in names]
        pictures = canonical_json([case.digests, case.role, shown, list(columns)])
        teach = bench.teach(labeler.after(network.prepare), pictures, columns)
    optimizer = optimizer_of(options.optimizer, network.body.parameters())
    watch = _Watch(network, forward, optimizer, options)
    looks = {max(1, round(options.epochs * i / options.checks)) for i in range(1, options.checks + 1)}
    epochs = set(range(1, options.epochs + 1)) if options.curve else {options.epochs - 1, options.epochs}
    fit(
        forward,
        batches(options, data, network.prepare, seed, teach),
        loss_for(options, data),
        optimizer,
        steps=progress(range(per_epoch * options.epochs)),
        rate=rate_of(options.schedule, epochs=options.epochs, steps_per_epoch=per_epoch, warm_up=options.warm_up),
        seed=partial(rng.stream, seed, "layers"),
        stops={
            epoch * per_epoch: partial(watch.stop, epoch, looked_at if epoch in looks else None)
            for epoch in epochs | (looks if looked_at else set())
        },
    )
    figures = watch.finish(tested)
    return figures | {"flops": bench.flops(case, bundle)}


class _Watch:
    """What is seen of a student while it trains: losses, gradients, a running mean, and the best epoch so far."""

    def __init__(self, network: Network, forward: Forward, optimizer: Optimizer, options: EvaluateOptions) -> None:
        self.network, self.forward, self.options = network, forward, options
        self._losses: list[float | None] = []
        self._norms: list[float | None] = []
        self._norm, self._steps = torch.zeros(()), 0
        self._best: tuple[float, int, dict[str, Tensor]] | None = None
        self._mean: AveragedModel | None = None
        if options.curve:
            optimizer.register_step_pre_hook(self._add_norm)
        if options.ema is not None:
            average = get_ema_multi_avg_fn(options.ema)  # type: ignore[no-untyped-call]
            mean = AveragedModel(network.body, multi_avg_fn=average, use_buffers=True)
            optimizer.register_step_post_hook(lambda *_: mean.update_parameters(network.body))
            self._mean = mean

    def stop(self, epoch: int, looked_at: Data | None, loss: float) -> None:
        """After an epoch: `loss` is the mean since the last stop; the student may be looked at."""
        self._losses.append(loss if math.isfinite(loss) else None)
        if self.options.curve:
            norm = float(self._norm) / self._steps
            self._norms.append(norm if math.isfinite(norm) else None)
            self._norm, self._steps = torch.zeros(()), 0
        if looked_at is not None:
            accuracy = int(correct(self._logits(looked_at), looked_at.hard)) / len(looked_at)
            if self._best is None or accuracy > self._best[0]:
                self._best = accuracy, epoch, copy.deepcopy(self._weights())

    def finish(self, tested: Data) -> Record:
        """The student's figures on the test images, and what was seen of it."""
        seen: Record = {"loss": self._losses[-1]}
        logits = self._logits(tested, None if self._best is None else self._best[2])
        if self._best is not None:
            seen |= {"chosen_epoch": self._best[1], "accuracy_when_chosen": self._best[0]}
        if self.options.curve:
            seen["curve"] = {"loss": self._losses, "gradient_norm": self._norms}
        if self.options.confusion:
            seen["confusion"] = confusion(logits, tested.hard)
        return student_figures(logits, tested.hard) | seen

    def _weights(self) -> dict[str, Tensor]:
        """The student's weights, or their running mean."""
        body = self.network.body if self._mean is None else self._mean.module
        weights: dict[str, Tensor] = body.state_dict()
        return weights

    def _logits(self, data: Data, weights: dict[str, Tensor] | None = None) -> Tensor:
        """Logits with these weights, or those of now; the training goes on as if nothing had been."""
        own = copy.deepcopy(self.network.body.state_dict())
        self.network.body.load_state_dict(weights or self._weights())
        logits = predict(self.network, self.forward, data, rows=len(data))
        self.network.body.load_state_dict(own)
        return logits

    def _add_norm(self, optimizer: Optimizer, *_: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        self._norm, self._steps = self._norm + get_total_norm(gradients), self._steps + 1


def _keep(kept: dict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    """What is kept under a key, made when it is first asked for."""
    if key not in kept:
        kept[key] = make()
    return kept[key]


def _hold_out(bundle: Bundle, share: float, seed: int) -> tuple[Bundle, Bundle]:
    """A share of every class, at least one image and not all of them, and the rest."""
    generator = np.random.default_rng(rng.stream(seed, "holdout"))
    held = []
    for number in range(len(bundle.classes)):
        rows = generator.permutation(np.flatnonzero(bundle.hard_labels == number))
        held.append(rows[: min(max(1, round(share * len(rows))), len(rows) - 1)])
    mask = np.zeros(len(bundle), bool)
    mask[np.concatenate(held)] = True
    return bundle.take(np.flatnonzero(mask)), bundle.take(np.flatnonzero(~mask))


def _peak_memory(device: torch.device) -> int:
    """Peak bytes: of this student on a GPU, of the whole process so far on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024
