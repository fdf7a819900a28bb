"""Label archives of FKD, saved by a real DataLoader as SRe2L's public code does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

from ddlabel.data.bundle import Bundle


class _Augmented(Dataset):
    """Images with a random crop and flip: the view, its coordinates, its flip, its number."""

    def __init__(self, bundle: Bundle, generator: np.random.Generator) -> None:
        self.images = torch.from_numpy(np.array(bundle.images)).float() / 255
        self.generator = generator

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int):
        image = self.images[row]
        side = image.shape[1]
        i, j, h, w = RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3))
        size, how = [side, side], InterpolationMode.BILINEAR
        view = F.resized_crop(image, i, j, h, w, size, how, antialias=False)
        flip = bool(self.generator.random() < 0.5)
        coords = torch.tensor([i / side, j / side, h / side, w / side])
        return view.flip(2) if flip else view, coords, flip, row


def save_fkd(
    folder: Path, bundle: Bundle, *, epochs=2, batch_size=5, mix="cutmix", ids=False
) -> tuple[np.ndarray, np.ndarray]:
    """Save an archive; return the views [N, E, C, H, W] that were labelled and the logits."""
    generator = np.random.default_rng(0)
    data = _Augmented(bundle, generator)
    sampler = RandomSampler(data, generator=torch.Generator().manual_seed(42))
    loader = DataLoader(data, batch_size=batch_size, sampler=sampler)
    side = bundle.side
    views = np.zeros((len(bundle), epochs, *bundle.images.shape[1:]), np.float32)
    labels = np.zeros((len(bundle), epochs, bundle.num_classes), np.float16)
    for epoch in range(epochs):
        (folder / f"epoch_{epoch}").mkdir(parents=True)
        for number, (images, coords, flip, rows) in enumerate(loader):
            partner = lam = box = None
            if mix != "none":
                partner = torch.from_numpy(generator.permutation(len(images)))
                lam = np.float64(generator.beta(1, 1))
                mixed = lam * images + (1 - lam) * images[partner]
            if mix == "cutmix":
                ends = generator.integers(0, side + 1, (2, 2))
                ends.sort(0)
                box = [ends[0, 0], ends[0, 1], ends[1, 0], ends[1, 1]]  # numpy's int64
                mixed = images.clone()
                region = (..., slice(box[0], box[2]), slice(box[1], box[3]))
                mixed[region] = images[partner][region]
            images = images if mix == "none" else mixed
            logits = torch.randn(len(images), bundle.num_classes).half()
            content = [coords, flip, partner, lam, box, logits] + ([rows] if ids else [])
            torch.save(content, folder / f"epoch_{epoch}" / f"batch_{number}.tar")
            views[rows.numpy(), epoch] = images.numpy()
            labels[rows.numpy(), epoch] = logits.numpy()
    return views, labels
