"""Every loss written out in float64 with numpy and scipy, and the specs and labels to try it on.

An oracle is the definition of a loss, image by image, as a function of the student's logits `z` and
a `Label`. Gradients are compared with finite differences of the oracle, never of the loss itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from scipy.spatial.distance import cosine as cosine_distance
from scipy.spatial.distance import jensenshannon
from scipy.special import entr, log_softmax, rel_entr, softmax
from scipy.stats import pearsonr

from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.target import Target
from ddlabel.methods.losses import loss_of, losses

EPOCH = 5  # within the warm-up of dkd
# Every loss at its defaults, and with every option at another value. A test checks both.
SPECS = [
    "ce",
    "soft-ce",
    "kl",
    "kl:temperature=4",
    "kl:temperature=20,scale=false",
    "js",
    "js:temperature=3",
    "mse",
    "mse:space=probs",
    "mse:space=logits-to-probs",
    "cosine",
    "cosine:space=logits",
    "gift",
    "gift:space=logits",
    "gift:gamma=0.4,alpha=0.3",
    "kl+ce",
    "kl+ce:weight=0.5,temperature=4,scale=false",
    "mse+ce",
    "mse+ce:weight=1,space=probs",
    "soft-ce+ce",
    "soft-ce+ce:weight=0.7",
    "mse-gt",
    "mse-gt:weight=0.15",
    "kd",
    "kd:temperature=2,ce-weight=1,kd-weight=0.3",
    "wsld",
    "wsld:temperature=1,alpha=1",
    "wsld:temperature=5",
    "dkd",
    "dkd:temperature=1,alpha=2,beta=3,ce-weight=0.5,warm-up=7",
    "dkd:warm-up=0",
    "nkd",
    "nkd:temperature=4,gamma=0.5",
    "dist",
    "dist:temperature=4,ce-weight=0.5,inter=1,intra=3",
]
# Directions have no probabilities: only losses that use an angle or no soft label take them.
TAKE_DIRECTIONS = {"ce", "cosine", "cosine:space=logits"}
# These losses need one class for each image; blended images have two.
NEED_ONE_CLASS = {"dkd", "nkd"}


def name_of(spec):
    return spec.partition(":")[0]


def needs_logits(spec):
    if name_of(spec) in {"mse", "mse+ce", "mse-gt"}:
        return "probs" not in spec
    return "space=logits" in spec


TAKE_PROBS = [spec for spec in SPECS if not needs_logits(spec)]


def accepted_labels(spec, names):
    """Select the labels that a loss accepts; their names begin with the space."""
    return [name for name in names if name.startswith("logits") or not needs_logits(spec)]


_generator = np.random.default_rng(0)
STUDENT = torch.from_numpy(_generator.normal(0, 2, (4, 5)))
TEACHER = torch.from_numpy(_generator.normal(0, 2, (4, 5)))
HARD = torch.tensor([0, 2, 4, 2])

# Extreme logits in float32.
CORNERS = torch.eye(3) * 2e4 - 1e4
STUDENTS = {
    "right, by 20,000": CORNERS,
    "wrong, by 20,000": CORNERS.roll(1, 1),
    "against the class, by 20,000": -CORNERS,
    "all 0": torch.zeros(3, 3),
    "all 10,000": torch.full((3, 3), 1e4),
    "all −10,000": torch.full((3, 3), -1e4),
    "very small": torch.eye(3) * 1e-30,
    "usual": torch.tensor([[1.0, 2.0, -0.5], [0.3, -1.0, 0.8], [0.0, 1.0, -1.0]]),
}


def target(values=TEACHER, space="logits", temperature=1.0, hard=HARD):
    return Target(hard=hard, values=values, meta=LabelMeta(space=space, temperature=temperature))


def _without_smallest(probs):
    """Set the smallest probability of each distribution to 0 and renormalise."""
    kept = np.where(probs == probs.min(1, keepdims=True), 0, probs)
    return kept / kept.sum(1, keepdims=True)


@dataclass(frozen=True)
class Label:
    """Labels for an oracle: distributions, the raw vectors of a cosine or MSE, and the classes."""

    probs: np.ndarray
    raw: np.ndarray
    hard: np.ndarray

    def soft(self, temperature):
        powers = self.probs ** (1 / temperature)
        return powers / powers.sum(1, keepdims=True)


def _from_logits(temperature):
    raw = TEACHER.numpy() / temperature
    label = Label(probs=softmax(raw, 1), raw=raw, hard=HARD.numpy())
    return target(temperature=temperature), label


def _from_probs(probs):
    label = Label(probs=probs, raw=probs, hard=HARD.numpy())
    return target(torch.from_numpy(probs), "probs"), label


# The same labels as a loss and as an oracle take them.
LABELS = {
    "logits": _from_logits(1.0),
    "logits at temperature 2": _from_logits(2.0),
    "probs": _from_probs(softmax(TEACHER.numpy(), 1)),
    "probs with zeros": _from_probs(_without_smallest(softmax(TEACHER.numpy(), 1))),
}


def ce(z, label):
    return np.mean([-log_softmax(row)[hard] for row, hard in zip(z, label.hard, strict=True)])


def kl(z, label, temperature=1.0, scale=True):
    divergence = rel_entr(label.soft(temperature), softmax(z / temperature, 1)).sum(1).mean()
    return divergence * temperature**2 if scale else divergence


def soft_ce(z, label):
    # Cross-entropy is the label's entropy and the divergence from it.
    return entr(label.probs).sum(1).mean() + kl(z, label)


def js(z, label, temperature=1.0):
    # scipy's distance is the root of the divergence.
    distance = jensenshannon(label.soft(temperature), softmax(z / temperature, 1), axis=1)
    return np.mean(distance**2)


def mse(z, label, space="logits"):
    if space == "logits":
        return np.mean((z - label.raw) ** 2)
    outputs = z if space == "logits-to-probs" else softmax(z, 1)
    return np.mean((outputs - label.probs) ** 2)


def cosine(z, label, space="probs"):
    vectors = label.raw if space == "logits" else label.probs
    return np.mean([cosine_distance(a, b) for a, b in zip(z, vectors, strict=True)])


def gift(z, label, space="probs", gamma=0.1, alpha=0.1):
    distances = []
    vectors = label.raw if space == "logits" else label.probs
    for row, soft, hard in zip(z, vectors, label.hard, strict=True):
        smooth = np.full(len(row), alpha / (len(row) - 1))
        smooth[hard] = 1 - alpha
        smooth = smooth / np.linalg.norm(smooth)
        soft = soft / np.linalg.norm(soft)
        distances.append(cosine_distance(row, gamma * smooth + (1 - gamma) * soft))
    return np.mean(distances)


def kl_ce(z, label, weight=0.1, temperature=1.0, scale=True):
    return kl(z, label, temperature, scale) + weight * ce(z, label)


def mse_ce(z, label, weight=0.1, space="logits"):
    return mse(z, label, space) + weight * ce(z, label)


def soft_ce_ce(z, label, weight=0.1):
    return soft_ce(z, label) + weight * ce(z, label)


def mse_gt(z, label, weight=0.025):
    return mse(z, label) + weight * ce(z, label)


def kd(z, label, temperature=4.0, ce_weight=0.1, kd_weight=0.9):
    divergence = rel_entr(label.soft(temperature), softmax(z / temperature, 1)).sum(1).mean()
    return ce_weight * ce(z, label) + kd_weight * temperature**2 * divergence


def wsld(z, label, temperature=2.0, alpha=2.5, weights_from=None):
    """`weights_from` are the logits of which the weights are computed: they have no gradient."""
    weights_from = z if weights_from is None else weights_from
    soft = label.soft(temperature)
    total = 0.0
    for i, hard in enumerate(label.hard):
        student_ce = -log_softmax(weights_from[i])[hard]
        # The loss bounds the cross-entropy of a teacher that gives the class no probability.
        teacher_ce = -np.log(max(label.probs[i, hard], 1e-30))
        weight = 1 - np.exp(-student_ce / teacher_ce)
        softened_ce = -soft[i] @ log_softmax(z[i] / temperature)
        total += -log_softmax(z[i])[hard] + alpha * temperature**2 * weight * softened_ce
    return total / len(z)


def dkd(z, label, temperature=4.0, alpha=1.0, beta=8.0, ce_weight=1.0, warm_up=20, epoch=EPOCH):
    total = 0.0
    for row, p, hard in zip(z, label.soft(temperature), label.hard, strict=True):
        q = softmax(row / temperature)
        tckd = rel_entr([p[hard], 1 - p[hard]], [q[hard], 1 - q[hard]]).sum()
        other_p = np.delete(p, hard)
        other_q = np.delete(q, hard)
        nckd = rel_entr(other_p / other_p.sum(), other_q / other_q.sum()).sum()
        total += alpha * tckd + beta * nckd
    growth = min(epoch / warm_up, 1) if warm_up else 1
    return ce_weight * ce(z, label) + growth * temperature**2 * total / len(z)


def nkd(z, label, temperature=1.0, gamma=1.5):
    total = 0.0
    softened = label.soft(temperature)
    for row, p, soft, hard in zip(z, label.probs, softened, label.hard, strict=True):
        others = np.delete(soft, hard)
        log_q = log_softmax(np.delete(row, hard) / temperature)
        other_classes = -others / others.sum() @ log_q
        total += -p[hard] * log_softmax(row)[hard] + gamma * temperature**2 * other_classes
    return ce(z, label) + total / len(z)


def dist(z, label, temperature=1.0, ce_weight=1.0, inter=2.0, intra=2.0):
    q = softmax(z / temperature, 1)
    p = label.soft(temperature)
    rows = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(q, p, strict=True)])
    columns = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(q.T, p.T, strict=True)])
    return ce_weight * ce(z, label) + temperature**2 * (inter * rows + intra * columns)


ORACLES = {
    "ce": ce,
    "soft-ce": soft_ce,
    "kl": kl,
    "js": js,
    "mse": mse,
    "cosine": cosine,
    "gift": gift,
    "kl+ce": kl_ce,
    "mse+ce": mse_ce,
    "soft-ce+ce": soft_ce_ce,
    "mse-gt": mse_gt,
    "kd": kd,
    "wsld": wsld,
    "dkd": dkd,
    "nkd": nkd,
    "dist": dist,
}


def oracle_of(spec, label):
    return partial(ORACLES[name_of(spec)], label=label, **losses.resolve(spec).keywords)


def finite_differences(function, z, step=1e-5):
    """The gradient of a function of a matrix by central differences."""
    gradient = np.empty_like(z)
    for index in np.ndindex(z.shape):
        offset = np.zeros_like(z)
        offset[index] = step
        gradient[index] = (function(z + offset) - function(z - offset)) / (2 * step)
    return gradient


loss = cache(loss_of)  # with one step per epoch


def value_of(spec, logits, of):
    """The value of a loss in epoch EPOCH for the target `of`."""
    return loss(spec)(logits, of, EPOCH - 1).item()


def value_and_gradient(spec, logits, of):
    leaf = logits.clone().requires_grad_()
    value = loss(spec)(leaf, of, EPOCH - 1)
    value.backward()
    return value.detach(), leaf.grad


def value_of_lists(spec, student, label, hard, space="probs"):
    """The value of a loss for student logits, labels and classes given as lists."""
    student = torch.tensor(student, dtype=torch.float64)
    values = torch.tensor(label, dtype=torch.float64)
    return value_of(spec, student, target(values, space, hard=torch.tensor(hard)))
