"""Every value of every protocol against the papers and the public code, read by hand.

Each line was written from the source that the protocol's file names (read on 2026-11-21), not from
the file. Numbers are compared as numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from learn_protocols import LEARN_CASES

from ddlabel.core import protocols
from ddlabel.core.protocols import DATASETS, Facts
from ddlabel.core.registry import parse_spec


def data(name: str, ipc: int, size: int | None = None, labels: str = "online", **more) -> Facts:
    classes, sizes = DATASETS[name]
    images = ipc * classes
    return Facts(images=images, classes=classes, size=size or sizes[0], labels=labels, **more)


def sgd(lr: float, momentum: float, decay: float, **more: Any) -> tuple:
    return ("sgd", {"lr": lr, "momentum": momentum, "weight-decay": decay, **more})


def adamw(lr: float, decay: float, **more: Any) -> tuple:
    return ("adamw", {"lr": lr, "weight-decay": decay, **more})


def shuffled(factor: int) -> str:
    """RDED, validation/main.py: shuffled columns, then rows, and a crop of at least 1/factor."""
    low = {1: "1", 2: "0.5", 3: "0.3333333333333333", 4: "0.25"}[factor]
    return f"patch-shuffle:factor={factor},strips=true+random-resized-crop:low={low}+flip"


# Weights of more than one axis alone have weight decay: `get_parameters` of RDED, SRe2L and EDC.
FEW = {"decay-norms": "false"}
CROP_AND_FLIP = "random-resized-crop+flip"
KL_20 = ("kl", {"temperature": 20, "scale": "false"})
MSE_GT = ("mse-gt", {"weight": 0.025})
MTT = {
    "net": "convnet-d3",
    "labels": "hard",
    "loss": "ce",
    "optimizer": sgd(0.01, 0.9, 0.0005),
    "schedule": "half-drop",
    "epochs": 1000,
    "batch_size": 256,
    "augment": "dsa",
}
DATM = MTT | {"labels": "soft", "loss": "soft-ce", "batch_size": 128}
LADD = {
    "net": "convnet-d3",
    "labels": "dense",
    "loss": "ce",
    "dense_loss": "soft-ce",
    "dense_batches": "sum",
    "global_labels": "hard",
    "optimizer": sgd(0.001, 0.9, 0.0005),
    "schedule": "rise-cosine",
    "epochs": 1000,
    "batch_size": 256,
    "augment": "dsa",
    "ema": 0.995,
    "ema_every": "epoch",
}
LABEL_WORTH = {
    "net": "convnet-d3",
    "labels": "soft",
    "loss": "soft-ce",
    "optimizer": sgd(0.01, 0.9, 0.0005),
    "schedule": ("step", {"every": 0.25, "factor": 0.3}),
    "epochs": 3000,
    "batch_size": 256,
    "augment": "dsa",
}
LABEL_WORTH_TINY = LABEL_WORTH | {"net": "convnet-d4", "epochs": 1000}
LABEL_WORTH_1K = LABEL_WORTH | {"net": "torchvision-resnet18", "schedule": "cosine"}
GIFT_CODE = {
    "teacher_epoch": "last",
    "loss": ("gift", {"space": "logits", "gamma": 1 / 11}),
    "optimizer": adamw(0.001, 0.0001),
    "schedule": "multistep",
    "epochs": 1000,
    "augment": "diffaug",
}
GIFT = {
    "teacher_epoch": "last",
    "net": "convnet-d3",
    "loss": "gift",
    "optimizer": adamw(0.001, 0.0001),
    "schedule": "multistep",
    "epochs": 1000,
    "augment": "dsa",
}
RESNET18 = "torchvision-resnet18"
GIFT_LARGE = GIFT | {"batch_size": 200, "epochs": 300}
D3, D4, D5, D6 = (f"convnet-d{depth}" for depth in (3, 4, 5, 6))
D3_BATCH, D4_BATCH, D5_BATCH, D6_BATCH = ((name, {"norm": "batch"}) for name in (D3, D4, D5, D6))
RDED = {
    "labels": "online",
    "teacher_epoch": "last",
    "loss": KL_20,
    "optimizer": adamw(0.001, 0.01, **FEW),
    "schedule": "half-cosine",
    "epochs": 300,
    "mix": "cutmix",
    "augment": shuffled(1),
}
RDED_LARGE = RDED | {"augment": shuffled(2)}
SRE2L = {
    "labels": "online",
    "teacher_epoch": "last",
    "net": RESNET18,
    "loss": KL_20,
    "optimizer": adamw(0.001, 0.01, **FEW),
    "schedule": "cosine",
    "epochs": 300,
    "batch_size": 1024,
    "augment": CROP_AND_FLIP,
    "mix": "cutmix",
}
SRE2L_CIFAR = {
    "labels": "online",
    "teacher_epoch": "last",
    "net": "resnet18-modified",
    "loss": ("kl", {"temperature": 30, "scale": "false"}),
    "optimizer": adamw(0.001, 0.01),
    "schedule": "cosine",
    "epochs": 400,
    "batch_size": 128,
    "augment": "crop:padding=4+flip",
    "mix": ("mixup", {"alpha": 0.8}),
}
EDC = {
    "labels": "online",
    "teacher_epoch": "last",
    "loss": MSE_GT,
    "mix": "cutmix",
    "ema": 0.99,
    "ema_every": "step",
}
EDC_1K = EDC | {
    "net": RESNET18,
    "optimizer": adamw(0.001, 0.01, **FEW),
    "schedule": "half-cosine",
    "epochs": 300,
    "batch_size": 100,
    "augment": shuffled(2),
}
EDC_CIFAR = EDC | {"net": "resnet18-modified", "epochs": 1000}
TORCHVISION = {
    "net": RESNET18,
    "size": 224,
    "epochs": 90,
    "batch_size": 256,
    "optimizer": sgd(0.1, 0.9, 0.0001),
    "schedule": ("step", {"every": 1 / 3, "factor": 0.1}),
    "augment": CROP_AND_FLIP,
}


class Case(NamedTuple):
    """What a protocol must preset for these facts and this network of the user."""

    protocol: str
    facts: Facts
    expected: dict[str, Any]
    net: str = ""


CASES = [
    Case("mtt", data("cifar10", 10), MTT),
    Case("mtt", data("tiny-imagenet", 1), MTT | {"net": D4}),
    Case("mtt", data("imagenette", 1), MTT | {"net": D5}),
    Case("datm", data("cifar10", 10), DATM),
    Case("datm", data("tiny-imagenet", 10), DATM | {"net": D4}),
    Case("ladd", data("cifar10", 10), LADD),
    Case("ladd", data("imagenette", 10), LADD | {"net": D5}),
    *(Case("ladd", data("imagenette", 1), LADD, net) for net in ("alexnet", "resnet18", "vit")),
    Case("ladd", data("imagenette", 1), LADD | {"optimizer": sgd(1e-4, 0.9, 0.0005)}, "vgg11"),
    *(Case("label-worth", data("cifar10", ipc), LABEL_WORTH) for ipc in (1, 10, 50, 100)),
    *(Case("label-worth", data("cifar100", ipc), LABEL_WORTH) for ipc in (1, 10, 50, 100)),
    Case("label-worth", data("tiny-imagenet", 1), LABEL_WORTH_TINY),
    *(
        Case(
            "label-worth",
            data("tiny-imagenet", ipc),
            LABEL_WORTH_TINY | {"optimizer": sgd(0.1, 0.9, 0.0005)},
        )
        for ipc in (10, 50, 100)
    ),
    Case("label-worth", data("imagenet-1k", 1, size=64), LABEL_WORTH | {"net": D4}),
    *(
        Case(
            "label-worth",
            data("imagenet-1k", ipc, size=224),
            LABEL_WORTH_1K | {"optimizer": adamw(lr, 0.01)},
        )
        for ipc, lr in ((1, 0.001), (10, 0.005), (50, 0.005), (100, 0.005), (200, 0.002))
    ),
    Case("gift", data("cifar10", 1), GIFT | {"batch_size": 10}),
    Case("gift", data("cifar10", 50), GIFT | {"batch_size": 50}),
    Case("gift", data("cifar100", 200), GIFT | {"batch_size": 100}),
    Case("gift", data("tiny-imagenet", 101), GIFT | {"batch_size": 200, "net": D4}),
    Case("gift", data("imagenet-1k", 1), GIFT | {"batch_size": 100, "net": D4, "epochs": 300}),
    Case("gift", data("imagenet-10", 1, size=128), GIFT | {"batch_size": 10, "net": D5}),
    Case("gift", data("imagenet-100", 1, size=128), GIFT | {"batch_size": 50, "net": D6}),
    Case("gift", data("imagenet-1k", 50, size=224), GIFT_LARGE | {"net": RESNET18}),
    *(
        Case(
            protocol,
            data("cifar10", 10),
            base | {"batch_size": 50, "optimizer": adamw(1e-4, 1e-4)},
            net,
        )
        for protocol, base in (("gift", GIFT), ("gift-code", GIFT_CODE))
        for net in ("torchvision-vit-b-16", "torchvision-swin-v2-t")
    ),
    Case("gift-code", data("cifar10", 1), GIFT_CODE | {"batch_size": 10, "net": D3_BATCH}),
    Case("gift-code", data("cifar100", 10), GIFT_CODE | {"batch_size": 100, "net": D3_BATCH}),
    Case("gift-code", data("imagenet-10", 10), GIFT_CODE | {"batch_size": 50, "net": D5_BATCH}),
    Case("gift-code", data("imagenet-100", 10), GIFT_CODE | {"batch_size": 100, "net": D6_BATCH}),
    *(
        Case(
            "gift-code", data("imagenet-1k", ipc, size=size), GIFT_CODE | {"epochs": 300} | expected
        )
        for ipc, size, expected in (
            (50, 64, {"batch_size": 200, "net": D4_BATCH}),
            (10, 224, {"batch_size": 100, "net": RESNET18}),
        )
    ),
    # GIFT, eval_syn_data.py: factor 2 for RDED's ImageNet-1K and ResNet18 alone.
    *(
        Case("gift-code", data("imagenet-1k", 10, size=size, factor=2), GIFT_CODE | expected, net)
        for size, net, augment in (
            (224, RESNET18, "patch-crop:factor=2+diffaug"),
            (64, D4, "diffaug"),
        )
        for expected in ({"batch_size": 100, "epochs": 300, "augment": augment},)
    ),
    *(
        Case(
            "gift-code", data(name, 10, labels="soft"), GIFT_CODE | {"batch_size": size, "net": net}
        )
        for name, size, net in (("cifar10", 50, D3), ("tiny-imagenet", 100, D4))
    ),
    *(
        Case("rded", data("cifar10", ipc), RDED | {"batch_size": batch, "net": D3_BATCH})
        for ipc, batch in ((1, 10), (10, 50), (50, 100))
    ),
    *(
        Case("rded", data("cifar100", ipc), RDED | {"batch_size": batch, "net": D3_BATCH})
        for ipc, batch in ((1, 20), (10, 100), (50, 200))
    ),
    *(
        Case("rded", data("tiny-imagenet", ipc), RDED | {"batch_size": 100, "net": D4_BATCH})
        for ipc in (1, 7, 10, 50)
    ),
    *(
        Case(
            "rded",
            data("imagenet-1k", ipc, size=224),
            RDED_LARGE | {"batch_size": batch, "net": RESNET18},
        )
        for ipc, batch in ((1, 20), (10, 100), (50, 200))
    ),
    *(
        Case(
            "rded",
            data("imagenette", 10, factor=factor),
            RDED | {"batch_size": 50, "net": D5_BATCH, "augment": shuffled(factor or 2)},
        )
        for factor in (None, 1, 2, 3, 4)
    ),
    Case("rded", data("imagenet-100", 10), RDED_LARGE | {"batch_size": 100, "net": D6_BATCH}),
    Case(
        "rded",
        data("cifar100", 10, teacher="convnet-d3"),
        RDED | {"batch_size": 25, "net": D3_BATCH, "optimizer": adamw(0.002, 0.01, **FEW)},
    ),
    *(
        Case(
            "rded",
            data("cifar10", 10),
            RDED | {"batch_size": 50, "optimizer": adamw(lr, 0.01, **FEW)},
            net,
        )
        for net, lr in (
            ("resnet18-modified", 0.001),
            ("torchvision-swin-v2-t", 1e-4),
            ("torchvision-vit-b-16", 1e-4),
            ("torchvision-alexnet", 1e-4),
            ("torchvision-vgg11", 5e-4),
            ("torchvision-efficientnet-b0", 0.002),
            ("torchvision-mobilenet-v2", 0.0025),
        )
    ),
    Case("sre2l", data("imagenet-1k", 50, size=224), SRE2L),
    Case("sre2l-cifar100", data("cifar100", 50), SRE2L_CIFAR),
    Case("edc-imagenet", data("imagenet-1k", 10, size=224), EDC_1K),
    Case(
        "edc-cifar",
        data("cifar10", 1),
        EDC_CIFAR
        | {
            "batch_size": 10,
            "optimizer": adamw(0.001, 0.01, **FEW),
            "schedule": ("multistep", {"milestones": "0.8/0.9/0.95", "factor": 0.5}),
            "augment": "rand-augment+random-resized-crop+flip",
        },
    ),
    Case(
        "edc-cifar",
        data("cifar100", 10),
        EDC_CIFAR
        | {
            "batch_size": 50,
            "optimizer": sgd(0.1, 0.875, 0.0005, **FEW),
            "schedule": ("half-cosine", {"line-from": 5 / 6}),
            "augment": "rand-augment+random-resized-crop:low=0.5+flip",
        },
    ),
    Case("torchvision-imagenet", data("imagenet-1k", 1300, size=224), TORCHVISION),
    *(Case(protocol, data(name, ipc), expected) for protocol, name, ipc, expected in LEARN_CASES),
]


def number(text: Any) -> Any:
    try:
        return pytest.approx(float(text), rel=1e-9)
    except ValueError:
        return text


def is_same(value: Any, expected: Any) -> bool:
    """Return whether a preset is the expected one, numbers in specs compared as numbers."""
    if not isinstance(value, str) or "+" in value:
        return value == expected
    name, options = parse_spec(value)
    wanted_name, wanted = expected if isinstance(expected, tuple) else parse_spec(str(expected))
    numbers = {key: number(text) for key, text in options.items()}
    return name == wanted_name and numbers == {
        key: text if isinstance(text, str) else float(text) for key, text in wanted.items()
    }


def preset(case: Case) -> dict[str, Any]:
    command = protocols.read(case.protocol).command
    given = {"net": case.net} if case.net else {}
    options = protocols.preset(case.protocol, command, facts=case.facts, given=given)
    if case.net:  # the user's network stands for the protocol's
        options.pop("net", None)
    return options


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.protocol} {case.net} {case.facts}")
def test_protocol_has_the_values_of_its_source(case):
    options = preset(case)
    expected = {name: value for name, value in case.expected.items() if name in options}
    assert options.keys() | ({"net"} & case.expected.keys()) == case.expected.keys()
    different = {
        name: (value, expected[name])
        for name, value in options.items()
        if not is_same(value, expected[name])
    }
    assert not different


@pytest.mark.parametrize("name", protocols.names())
def test_every_row_is_compared_with_its_source(name):
    protocol = protocols.read(name)
    cases = [case for case in CASES if case.protocol == name]
    assert cases
    for row in protocol.rows:
        used = []
        for case in cases:
            net = case.net or str(preset(case).get("net", ""))
            used.append(row.holds(case.facts, net.partition(":")[0]))
        assert any(used), row.condition()


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("rded", data("cifar10", 5)),
        ("edc-cifar", data("cifar10", 10)),
        ("label-worth", data("imagenet-1k", 20, size=224)),
        ("label-worth", data("imagenette", 10)),
        ("label-worth-bptt", data("tiny-imagenet", 50)),
        ("label-worth-mtt", data("cifar10", 10)),
    ],
)
def test_what_the_source_does_not_say_is_refused(name, facts):
    with pytest.raises(protocols.UsageError, match=f"{name}.*rows for.*give --"):
        protocols.preset(name, protocols.read(name).command, facts=facts)
