"""The plain loops of the field, written without any part of ddlabel.

They compute in float32 and eager mode, with a DataLoader without workers, and train one student
after another. Images [N, C, H, W] are normalised beforehand. Labels are classes [N] or
distributions [N, K]. Losses and accuracies are read back after every batch, and augmentation builds
its parameters image by image, as the public code of the field does.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

DSA = "color_crop_cutout_flip_scale_rotate"
_ROTATION_DEGREES = 15
_LARGEST_SCALE = 1.2
# Images [N, C, H, W] and their labels [N] or [N, K].
Data = tuple[Tensor, Tensor]


class ConvNet(nn.Module):
    """Blocks of 3×3 convolution, instance norm, ReLU and 2×2 average pooling; a linear layer."""

    def __init__(
        self, depth: int, size: int, num_classes: int, channels: int = 3, width: int = 128
    ) -> None:
        """Build `depth` blocks for images of `size` pixels."""
        super().__init__()
        layers: list[nn.Module] = []
        num_inputs = channels
        for _ in range(depth):
            layers += [
                nn.Conv2d(num_inputs, width, 3, padding=1),
                nn.GroupNorm(width, width, affine=True),
                nn.ReLU(inplace=True),
                nn.AvgPool2d(2, stride=2),
            ]
            num_inputs = width
        self.features = nn.Sequential(*layers)
        final_size = size // 2**depth
        self.classifier = nn.Linear(width * final_size**2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        logits: Tensor = self.classifier(features.view(features.size(0), -1))
        return logits


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with batch norm beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(images)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(images))


class ResNet18Modified(nn.Module):
    """ResNet18 whose first convolution is 3×3 at stride 1, without max-pooling."""

    def __init__(self, num_classes: int, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        layers = []
        in_channels = 64
        for out_channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            first = BasicBlock(in_channels, out_channels, stride)
            second = BasicBlock(out_channels, out_channels, 1)
            layers.append(nn.Sequential(first, second))
            in_channels = out_channels
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(512, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        out = self.layers(F.relu(self.bn1(self.conv1(images))))
        logits: Tensor = self.fc(F.adaptive_avg_pool2d(out, 1).flatten(1))
        return logits


def network(name: str, size: int, num_classes: int) -> nn.Module:
    """Build the network for RGB images that has this name in ddlabel."""
    if name == "resnet18-modified":
        return ResNet18Modified(num_classes)
    base, _, width = name.partition(":width=")
    depth = int(base.removeprefix("convnet-d"))
    return ConvNet(depth, size, num_classes, width=int(width or 128))


def augment(images: Tensor, strategy: str = DSA) -> Tensor:
    """Apply DSA in mode s: one operation of the strategy, drawn for the batch.

    Zhao & Bilen 2021.
    """
    names = strategy.split("_")
    number = int(torch.randint(len(names), (1,)).item())
    operation = OPERATIONS[names[number]]
    return operation(images)


def _uniform(images: Tensor) -> Tensor:
    """Draw a number in [0, 1) for each image, [B, 1, 1, 1]."""
    return torch.rand(images.size(0), 1, 1, 1, device=images.device)


def _color(images: Tensor) -> Tensor:
    images = images + (_uniform(images) - 0.5)
    mean = images.mean(dim=1, keepdim=True)
    images = (images - mean) * (2 * _uniform(images)) + mean
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * (_uniform(images) + 0.5) + mean


def _pixel_indices(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the indices of image, row and column of every pixel, each [B, H, W]."""
    batch_size, _, height, width = images.shape
    sides = [torch.arange(side, device=images.device) for side in (batch_size, height, width)]
    batch, rows, columns = torch.meshgrid(*sides, indexing="ij")
    return batch, rows, columns


def _offset(images: Tensor, low: int, high: int) -> Tensor:
    """Draw a whole number in [low, high) for each image, [B, 1, 1]."""
    return torch.randint(low, high, (images.size(0), 1, 1), device=images.device)


def _crop(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    shift = int(height * 0.125 + 0.5)
    batch, rows, columns = _pixel_indices(images)
    # One pixel of zeros is padded, and every pixel beyond it is taken from there.
    rows = (rows + _offset(images, -shift, shift + 1) + 1).clamp(0, height + 1)
    columns = (columns + _offset(images, -shift, shift + 1) + 1).clamp(0, width + 1)
    padded = F.pad(images, [1, 1, 1, 1]).permute(0, 2, 3, 1).contiguous()
    return padded[batch, rows, columns].permute(0, 3, 1, 2).contiguous()


def _cutout(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    side = int(height * 0.5 + 0.5)
    _, rows, columns = _pixel_indices(images)
    top = _offset(images, 0, height + 1 - side % 2) - side // 2
    left = _offset(images, 0, width + 1 - side % 2) - side // 2
    mask = torch.ones(images.size(0), height, width, device=images.device)
    in_rows = (rows >= top) & (rows < top + side)
    in_columns = (columns >= left) & (columns < left + side)
    mask[in_rows & in_columns] = 0
    return images * mask.unsqueeze(1)


def _flip(images: Tensor) -> Tensor:
    return torch.where(_uniform(images) < 0.5, images.flip(3), images)


def _transform(images: Tensor, matrices: list[list[list[float]]]) -> Tensor:
    """Transform every image by its affine matrix, 2 × 3."""
    theta = torch.tensor(matrices, dtype=torch.float, device=images.device)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _scale(images: Tensor) -> Tensor:
    smallest = 1 / _LARGEST_SCALE
    width_factors = torch.rand(images.size(0)) * (_LARGEST_SCALE - smallest) + smallest
    height_factors = torch.rand(images.size(0)) * (_LARGEST_SCALE - smallest) + smallest
    matrices = []
    for x_factor, y_factor in zip(width_factors, height_factors, strict=True):
        matrices.append([[x_factor.item(), 0, 0], [0, y_factor.item(), 0]])
    return _transform(images, matrices)


def _rotate(images: Tensor) -> Tensor:
    matrices = []
    for draw in torch.rand(images.size(0)):
        angle = (draw.item() - 0.5) * 2 * _ROTATION_DEGREES / 180 * math.pi
        cosine = math.cos(angle)
        sine = math.sin(angle)
        matrices.append([[cosine, -sine, 0], [sine, cosine, 0]])
    return _transform(images, matrices)


OPERATIONS = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}


def soft_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits [B, K] against distributions labels [B, K]."""
    return -(labels * F.log_softmax(logits, dim=1)).sum(dim=1).mean()


def run_epoch(
    net: nn.Module,
    loader: "DataLoader[Any]",
    device: str,
    optimizer: torch.optim.Optimizer | None = None,
) -> float:
    """Do one pass over a loader, with training if there is an optimizer.

    Returns:
        The share of right predictions.

    Raises:
        FloatingPointError: The loss is not finite.
    """
    is_training = optimizer is not None
    net.train(is_training)
    num_right = 0
    num_images = 0
    total_loss = 0.0
    for batch_images, batch_labels in loader:
        images = batch_images.float().to(device)
        labels = batch_labels.to(device)
        if is_training:
            images = augment(images)
        are_soft = labels.ndim == 2
        loss_function = soft_cross_entropy if are_soft else F.cross_entropy
        with torch.set_grad_enabled(is_training):
            logits = net(images)
            loss = loss_function(logits, labels)
        classes = labels.argmax(1) if are_soft else labels
        num_right += int((logits.detach().cpu().argmax(1) == classes.cpu()).sum().item())
        total_loss += loss.item() * len(images)
        num_images += len(images)
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if not math.isfinite(total_loss):
        raise FloatingPointError("the reference diverged")
    return num_right / num_images


def _training_loader(data: Data, batch_size: int) -> "DataLoader[Any]":
    return DataLoader(TensorDataset(*data), batch_size=batch_size, shuffle=True, num_workers=0)


def _test_loader(*tensors: Tensor) -> "DataLoader[Any]":
    return DataLoader(TensorDataset(*tensors), batch_size=256, num_workers=0)


def train_students(
    net_name: str,
    *,
    train: Data,
    test: Data,
    epochs: int,
    batch_size: int,
    seeds: Sequence[int],
    device: str,
) -> list[float]:
    """Train a student for each seed, by SGD 0.01 with momentum, × 0.1 past the middle.

    Returns:
        The test accuracies after the last epoch.
    """
    num_classes = _num_classes(train, test)
    size = train[0].size(2)
    accuracies = []
    for seed in seeds:
        torch.manual_seed(seed)  # noqa: TID251 - one global seed, as the field has it
        net = network(net_name, size, num_classes).to(device)
        loader = _training_loader(train, batch_size)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        milestone = int(0.501 * epochs)
        for number in range(epochs):
            if number == milestone:
                optimizer.param_groups[0]["lr"] *= 0.1
            run_epoch(net, loader, device, optimizer)
        accuracies.append(run_epoch(net, _test_loader(*test), device))
    return accuracies


def _num_classes(train: Data, test: Data) -> int:
    train_labels = train[1]
    test_labels = test[1]
    if train_labels.ndim == 2:
        return train_labels.size(1)
    return int(max(train_labels.max(), test_labels.max())) + 1


def train_expert(
    net_name: str, *, train: Data, test: Data, epochs: int, num_classes: int, device: str
) -> float:
    """Train an expert on real images by plain SGD 0.01, and test it after every epoch.

    Returns:
        The accuracy on `test` after the last epoch.
    """
    torch.manual_seed(0)  # noqa: TID251 - one global seed, as the field has it
    net = network(net_name, train[0].size(2), num_classes).to(device)
    loader = _training_loader(train, batch_size=256)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    accuracy = 0.0
    for _ in range(epochs):
        run_epoch(net, loader, device, optimizer)
        accuracy = run_epoch(net, _test_loader(*test), device)
    return accuracy


@torch.no_grad()
def relabel(net: nn.Module, images: Tensor, device: str) -> Tensor:
    """Return logits [N, K] of images, batch by batch."""
    net.eval()
    logits = [net(batch.to(device)).cpu() for (batch,) in _test_loader(images)]
    return torch.cat(logits)


@torch.no_grad()
def densify(net: nn.Module, images: Tensor, boxes: Sequence[Sequence[int]], device: str) -> Tensor:
    """Return logits [N, V, K] of views, image by image.

    A view is the crop of a box (top, left, bottom, right) in pixels, resized to the image's size.
    """
    net.eval()
    labels = []
    for image in images:
        size = image.shape[1:]
        logits = []
        for top, left, bottom, right in boxes:
            crop = image[None, :, top:bottom, left:right].to(device)
            view = F.interpolate(crop, size=size, mode="bilinear", align_corners=False)
            logits.append(net(view).cpu())
        labels.append(torch.cat(logits))
    return torch.stack(labels)


def refine(logits: Tensor, hard: Tensor, gamma: float = 0.1, alpha: float = 0.1) -> Tensor:
    """Return GIFT's refined labels [N, K], one after another.

    A label is γ·smooth/‖smooth‖ + (1 − γ)·soft/‖soft‖, scaled to sum to 1.
    """
    refined = []
    for row, label in zip(logits, hard, strict=True):
        soft = F.softmax(row, dim=0)
        smooth = torch.full_like(soft, alpha / (len(soft) - 1))
        smooth[label.item()] = 1 - alpha
        mixed = gamma * smooth / smooth.norm() + (1 - gamma) * soft / soft.norm()
        refined.append(mixed / mixed.sum())
    return torch.stack(refined)
