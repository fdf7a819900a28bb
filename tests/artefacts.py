"""Published artefacts in small, saved as the code of each method saves them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import scipy
import torch
from foreign_sources import save_npz, save_pt

NAME_OF_DC = "res_DC_CIFAR10_ConvNet_1ipc.pt"


def save_dc(folder: Path, images: np.ndarray, *, num_sets: int = 2, **changes) -> Path:
    """`data` = [[images, labels], …]: set i has its images times i + 1. And accuracies."""
    labels = torch.arange(len(images))
    sets = [[torch.tensor(images) * (i + 1), labels] for i in range(num_sets)]
    accuracies = {"ConvNet": [np.float64(0.5), np.float64(0.25)], "MLP": []}
    value = {"data": sets, "accs_all_exps": accuracies} | changes
    return save_pt(folder / NAME_OF_DC, value)


def save_gift(folder: Path, images: np.ndarray, labels, **changes) -> Path:
    value = {"dataset": "cifar10", "data": torch.tensor(images), "label": torch.tensor(labels)}
    return save_pt(folder / "data.pt", value | changes)


def save_kip(folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Images NHWC, and labels as they are."""
    return save_npz(folder / "kip.npz", images=images.transpose(0, 2, 3, 1), labels=labels)


def save_rat_bptt(folder: Path, images: np.ndarray, labels: np.ndarray | None, **how) -> Path:
    path = folder / "IPC_1.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=images.reshape(len(images), -1), **how)
        file.create_dataset("epoch", data=7)
        if labels is not None:
            file.create_dataset("label", data=labels)
    return path


def layer_normed(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images [N, D] of mean 0 and norm 1, and the means [N] and norms [N] that they had."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    means = flat.mean(1)
    norms = np.linalg.norm(flat - means[:, None], axis=1)
    return (flat - means[:, None]) / norms[:, None], means, norms


def own_whitening(images: np.ndarray, real: np.ndarray) -> np.ndarray:
    """x (S + 0.1·trace(S)/D)^(−1/2) of layer-normed images, by scipy's matrix square root."""
    flat, _, _ = layer_normed(real)
    moment = flat.T @ flat / len(flat)
    size = len(moment)
    regularised = moment + 0.1 * np.trace(moment) / size * np.eye(size)
    whitened = layer_normed(images)[0] @ np.linalg.inv(scipy.linalg.sqrtm(regularised)).real
    return whitened.reshape(images.shape).astype(np.float32)
