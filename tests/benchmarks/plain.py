"""Whole programs of the field, from start to end: `python -m tests.benchmarks.plain NAME …`.

Like `reference`, they have no part of ddlabel. They read bundles and weights as the safetensors
files that these are, and write what they make.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from . import reference

NUM_CLASSES = 10
# CIFAR-10's, as the field's code has them.
_MEAN = (0.4914, 0.4822, 0.4465)
_STD = (0.2470, 0.2435, 0.2616)
_NUM_TESTED = 2000


def read_images(path: str) -> tuple[Tensor, Tensor]:
    """Return the normalised images [N, 3, H, W] and the classes [N] of a file."""
    arrays = load_file(path)
    mean = torch.tensor(_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(_STD).view(1, 3, 1, 1)
    return (arrays["images"].float() / 255 - mean) / std, arrays["hard_labels"]


def _trained_network(name: str, weights: str) -> nn.Module:
    """Return a ConvNet with the weights of a file, by the numbers of its layers: `4.bias`."""
    net = reference.network(name, 32, NUM_CLASSES)
    arrays = load_file(weights)
    names = sorted(arrays, key=_layer_and_kind)
    values = [arrays[array_name] for array_name in names]
    net.load_state_dict(dict(zip(net.state_dict(), values, strict=True)))
    return net


def _layer_and_kind(array_name: str) -> tuple[int, bool]:
    """Return what arrays are sorted by: the number of the layer, and the bias after the weight."""
    number, _, kind = array_name.partition(".")
    return int(number), kind == "bias"


def train_expert(arguments: argparse.Namespace) -> None:
    """Train an expert, test it after every epoch, and save it."""
    images, labels = read_images(arguments.bundle)
    reference.train_expert(
        arguments.net,
        train=(images, labels),
        test=(images[:_NUM_TESTED], labels[:_NUM_TESTED]),
        epochs=arguments.epochs,
        num_classes=NUM_CLASSES,
        device=arguments.device,
    )
    arguments.out.write_text("trained\n")


def evaluate(arguments: argparse.Namespace) -> None:
    """Train five students, one after another, and test them on all test images."""
    train = read_images(arguments.bundle)
    accuracies = reference.train_students(
        arguments.net,
        train=(train[0].to(arguments.device), train[1].to(arguments.device)),
        test=read_images(arguments.test),
        epochs=arguments.epochs,
        batch_size=min(256, len(train[0])),
        seeds=range(5),
        device=arguments.device,
    )
    arguments.out.write_text(f"{accuracies}\n")


def relabel(arguments: argparse.Namespace) -> None:
    """Label the images of a file."""
    images, _ = read_images(arguments.bundle)
    net = _trained_network(arguments.net, arguments.weights).to(arguments.device)
    save_file({"soft_labels": reference.relabel(net, images, arguments.device)}, arguments.out)


def densify(arguments: argparse.Namespace) -> None:
    """Label 25 views of every image of a file."""
    images, _ = read_images(arguments.bundle)
    net = _trained_network(arguments.net, arguments.weights).to(arguments.device)
    boxes = []
    for top in range(0, 13, 3):
        boxes += [(top, left, top + 20, left + 20) for left in range(0, 13, 3)]
    labels = reference.densify(net, images, boxes, arguments.device)
    save_file({"dense_labels": labels}, arguments.out)


PROGRAMS: dict[str, Callable[[argparse.Namespace], None]] = {
    "train-expert": train_expert,
    "evaluate": evaluate,
    "relabel": relabel,
    "densify": densify,
}


def main() -> None:
    """Run the program that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=PROGRAMS)
    parser.add_argument("bundle")
    parser.add_argument("out", type=Path)
    parser.add_argument("--net", default="convnet-d3")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--test")
    parser.add_argument("--weights")
    arguments = parser.parse_args()
    PROGRAMS[arguments.name](arguments)


if __name__ == "__main__":
    main()
