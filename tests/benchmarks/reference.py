"""The field's loops, written fresh: float32, eager, a DataLoader without workers, one student after another.

Nothing of ddlabel is used here. Images [N, C, H, W] are normalised beforehand, labels are classes [N] or distributions
[N, K]. Losses and accuracies are read back every batch, and augmentation builds its parameters image by image, as the
public code of the field does.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

DSA = "color_crop_cutout_flip_scale_rotate"


class ConvNet(nn.Module):
    """`depth` blocks of 3×3 convolution, instance norm, ReLU and 2×2 average pooling, then one linear layer."""

    def __init__(
        self, depth: int, size: int, classes: int, channels: int = 3, width: int = 128
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for block in range(depth):
            layers.append(nn.Conv2d(channels if block == 0 else width, width, 3, padding=1))
            layers += [
                nn.GroupNorm(width, width, affine=True),
                nn.ReLU(inplace=True),
                nn.AvgPool2d(2, stride=2),
            ]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * (size // 2**depth) ** 2, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        return self.classifier(features.view(features.size(0), -1))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with batch norm beside a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(images)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(images))


class ResNet18Modified(nn.Module):
    """ResNet18 whose first convolution is 3×3 at stride 1, without max-pooling."""

    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        widths = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        self.layers = nn.Sequential(
            *(
                nn.Sequential(BasicBlock(a, b, stride), BasicBlock(b, b, 1))
                for a, b, stride in widths
            )
        )
        self.fc = nn.Linear(512, classes)

    def forward(self, images: Tensor) -> Tensor:
        out = self.layers(F.relu(self.bn1(self.conv1(images))))
        return self.fc(F.adaptive_avg_pool2d(out, 1).flatten(1))


def network(name: str, size: int, classes: int) -> nn.Module:
    """A network of RGB images by ddlabel's name for it."""
    if name == "resnet18-modified":
        return ResNet18Modified(classes)
    return ConvNet(int(name.removeprefix("convnet-d")), size, classes)


def augment(images: Tensor, strategy: str = DSA) -> Tensor:
    """DSA in mode s (Zhao & Bilen 2021): one operation of the strategy, drawn for the batch."""
    names = strategy.split("_")
    return OPERATIONS[names[int(torch.randint(len(names), (1,)).item())]](images)


def _uniform(images: Tensor) -> Tensor:
    return torch.rand(images.size(0), 1, 1, 1, device=images.device)


def _color(images: Tensor) -> Tensor:
    images = images + (_uniform(images) - 0.5)
    mean = images.mean(dim=1, keepdim=True)
    images = (images - mean) * (2 * _uniform(images)) + mean
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * (_uniform(images) + 0.5) + mean


def _at(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of image, row and column of every pixel, each [B, H, W]."""
    sides = [
        torch.arange(n, device=images.device)
        for n in (images.size(0), images.size(2), images.size(3))
    ]
    return torch.meshgrid(*sides, indexing="ij")


def _offset(images: Tensor, low: int, high: int) -> Tensor:
    return torch.randint(low, high, (images.size(0), 1, 1), device=images.device)


def _crop(images: Tensor) -> Tensor:
    shift = int(images.size(2) * 0.125 + 0.5)
    batch, rows, columns = _at(images)
    rows = (rows + _offset(images, -shift, shift + 1) + 1).clamp(0, images.size(2) + 1)
    columns = (columns + _offset(images, -shift, shift + 1) + 1).clamp(0, images.size(3) + 1)
    padded = F.pad(images, [1, 1, 1, 1]).permute(0, 2, 3, 1).contiguous()
    return padded[batch, rows, columns].permute(0, 3, 1, 2).contiguous()


def _cutout(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    side = int(height * 0.5 + 0.5)
    _, rows, columns = _at(images)
    top = _offset(images, 0, height + 1 - side % 2) - side // 2
    left = _offset(images, 0, width + 1 - side % 2) - side // 2
    mask = torch.ones(images.size(0), height, width, device=images.device)
    mask[(rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)] = 0
    return images * mask.unsqueeze(1)


def _flip(images: Tensor) -> Tensor:
    return torch.where(_uniform(images) < 0.5, images.flip(3), images)


def _sampled(images: Tensor, theta: list[list[list[float]]]) -> Tensor:
    matrices = torch.tensor(theta, dtype=torch.float, device=images.device)
    return F.grid_sample(
        images,
        F.affine_grid(matrices, list(images.shape), align_corners=False),
        align_corners=False,
    )


def _scale(images: Tensor) -> Tensor:
    sx, sy = (torch.rand(images.size(0)) * (1.2 - 1 / 1.2) + 1 / 1.2 for _ in range(2))
    return _sampled(
        images, [[[sx[i].item(), 0, 0], [0, sy[i].item(), 0]] for i in range(images.size(0))]
    )


def _rotate(images: Tensor) -> Tensor:
    angles = [(value.item() - 0.5) * 2 * 15 / 180 * math.pi for value in torch.rand(images.size(0))]
    return _sampled(
        images, [[[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0]] for a in angles]
    )


OPERATIONS = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}


def soft_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return -(labels * F.log_softmax(logits, dim=1)).sum(dim=1).mean()


def epoch(
    net: nn.Module, loader: DataLoader, device: str, optimizer: torch.optim.Optimizer | None = None
) -> float:
    """One pass, training where there is an optimizer; the mean accuracy of its batches."""
    training, right, count, total = optimizer is not None, 0, 0, 0.0
    net.train(training)
    for images, labels in loader:
        images, labels = images.float().to(device), labels.to(device)
        if training:
            images = augment(images)
        with torch.set_grad_enabled(training):
            logits = net(images)
            loss = (soft_cross_entropy if labels.ndim == 2 else F.cross_entropy)(logits, labels)
        classes = labels.argmax(1) if labels.ndim == 2 else labels
        right += (logits.detach().cpu().argmax(1) == classes.cpu()).sum().item()
        total += loss.item() * len(images)
        count += len(images)
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if not math.isfinite(total):
        raise FloatingPointError("the reference diverged")
    return right / count


def train_students(
    name: str,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    epochs: int,
    batch_size: int,
    seeds: Sequence[int],
    device: str,
) -> list[float]:
    """Test accuracies after the last epoch: SGD 0.01 with momentum, × 0.1 past the middle."""
    accuracies = []
    for seed in seeds:
        torch.manual_seed(seed)  # noqa: TID251 - one global seed, as the field has it
        net = network(name, train[0].size(2), _classes(train, test)).to(device)
        loader = DataLoader(
            TensorDataset(*train), batch_size=batch_size, shuffle=True, num_workers=0
        )
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        for number in range(epochs):
            if number == int(0.501 * epochs):
                optimizer.param_groups[0]["lr"] *= 0.1
            epoch(net, loader, device, optimizer)
        accuracies.append(
            epoch(net, DataLoader(TensorDataset(*test), batch_size=256, num_workers=0), device)
        )
    return accuracies


def _classes(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> int:
    return (
        train[1].size(1)
        if train[1].ndim == 2
        else max(int(part[1].max()) for part in (train, test)) + 1
    )


def train_expert(
    name: str,
    train: tuple[Tensor, Tensor],
    tested: tuple[Tensor, Tensor],
    *,
    epochs: int,
    classes: int,
    device: str,
) -> float:
    """An expert by plain SGD 0.01 on real images, tested after every epoch: its last accuracy."""
    torch.manual_seed(0)  # noqa: TID251
    net = network(name, train[0].size(2), classes).to(device)
    loader = DataLoader(TensorDataset(*train), batch_size=256, shuffle=True, num_workers=0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(epochs):
        epoch(net, loader, device, optimizer)
        accuracy = epoch(
            net, DataLoader(TensorDataset(*tested), batch_size=256, num_workers=0), device
        )
    return accuracy


@torch.no_grad()
def relabel(net: nn.Module, images: Tensor, device: str) -> Tensor:
    """Logits [N, K], batch by batch."""
    net.eval()
    loader = DataLoader(TensorDataset(images), batch_size=256, num_workers=0)
    return torch.cat([net(batch.to(device)).cpu() for (batch,) in loader])


@torch.no_grad()
def densify(net: nn.Module, images: Tensor, boxes: Sequence[Sequence[int]], device: str) -> Tensor:
    """Logits [N, V, K] of crops (top, left, bottom, right) in pixels, resized: one image at a time."""
    net.eval()
    labels = []
    for image in images:
        views = []
        for top, left, bottom, right in boxes:
            view = image[None, :, top:bottom, left:right].to(device)
            view = F.interpolate(view, size=image.shape[1:], mode="bilinear", align_corners=False)
            views.append(net(view).cpu())
        labels.append(torch.cat(views))
    return torch.stack(labels)


def refine(logits: Tensor, hard: Tensor, gamma: float = 0.1, alpha: float = 0.1) -> Tensor:
    """GIFT's labels [N, K], one after another: γ·smooth/‖smooth‖ + (1 − γ)·soft/‖soft‖, made to sum to 1."""
    refined = []
    for row, label in zip(logits, hard, strict=True):
        soft = F.softmax(row, dim=0)
        smooth = torch.full_like(soft, alpha / (len(soft) - 1))
        smooth[label.item()] = 1 - alpha
        mixed = gamma * smooth / smooth.norm() + (1 - gamma) * soft / soft.norm()
        refined.append(mixed / mixed.sum())
    return torch.stack(refined)
