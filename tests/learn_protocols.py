"""What the protocols of `learn` must preset: protocol, data set, images per class, options.

Written from the sources that the protocols name (read on 2026-11-21), not from their files.
"""

from __future__ import annotations

from typing import Any

_BPTT = {
    "space": "probs",
    "start": "hard",
    "net": "convnet-d3",
    "inner": ("adam", {"lr": 0.001}),
    "optimizer": ("adam", {"lr": 0.001, "weight-decay": 0}),
    "batch_size": 100,
    "clip": 2,
    "augment": "flip",
}
_SLOWER = {"optimizer": ("adam", {"lr": 0.0003, "weight-decay": 0})}
_TINY = _SLOWER | {"net": "convnet-d4", "batch_size": 50}
_MTT = {"space": "probs", "start": "hard", "iterations": 5000, "clip": 0, "augment": "dsa"}


def _bptt(window: int, steps: int, real: int, *, vary: bool) -> dict[str, Any]:
    by_chance = {"vary": "true"} if vary else {}
    return {"method": ("bptt", {"steps": steps, "window": window, "real-batch": real, **by_chance})}


def _mtt(n: int, m: int, top: int, lr: float, lr_lr: float, batch: int) -> dict[str, Any]:
    # --max_start_epoch is the first epoch that is not drawn any more.
    options = {"steps": n, "ahead": m, "latest": top - 1, "lr": lr, "lr-lr": lr_lr}
    return _MTT | {"method": ("mtt", options), "batch_size": batch}


LEARN_CASES: list[tuple[str, str, int, dict[str, Any]]] = [
    ("label-worth-bptt", "cifar10", 10, _BPTT | _bptt(60, 200, 5000, vary=True)),
    ("label-worth-bptt", "cifar100", 1, _BPTT | _SLOWER | _bptt(90, 130, 5000, vary=False)),
    ("label-worth-bptt", "cifar100", 10, _BPTT | _bptt(100, 300, 5000, vary=True)),
    ("label-worth-bptt", "tiny-imagenet", 1, _BPTT | _TINY | _bptt(90, 130, 2000, vary=False)),
    ("label-worth-bptt", "tiny-imagenet", 10, _BPTT | _TINY | _bptt(100, 300, 1000, vary=True)),
    ("label-worth-mtt", "cifar10", 1, _mtt(50, 2, 2, 0.01, 1e-7, 10)),
    ("label-worth-mtt", "cifar10", 50, _mtt(30, 2, 40, 0.001, 1e-5, 500)),
    ("label-worth-mtt", "cifar100", 1, _mtt(20, 3, 20, 0.01, 1e-5, 100)),
    ("label-worth-mtt", "cifar100", 50, _mtt(80, 2, 40, 0.01, 1e-5, 125)),
    ("label-worth-mtt", "tiny-imagenet", 1, _mtt(10, 2, 10, 0.01, 1e-4, 200)),
    ("label-worth-mtt", "tiny-imagenet", 10, _mtt(20, 2, 40, 0.01, 1e-4, 200)),
    ("label-worth-mtt", "tiny-imagenet", 50, _mtt(20, 2, 40, 0.01, 1e-4, 300)),
]
