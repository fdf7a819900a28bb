"""Benchmarks of ways to train five students: `variant-…`, for the choice of defaults on a GPU.

They are compared with each other, and not with the reference: each gives a rate only.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from . import inputs, reference
from .harness import Result, Settings, Side, Turn, benchmark
from .students import Work, ddlabel_students

PREFIX = "variant-"
_NUM_STUDENTS = 5
_START_EPOCHS = 4
# The steps before a graph is captured, as torch's documentation advises.
_WARM_UP_STEPS = 3
_NET = "convnet-d3"


def _work(settings: Settings, **options: Any) -> Work:
    return Work(
        train=inputs.few_images(settings),
        test=inputs.real_images(settings, split="test"),
        device=settings.device,
        net=_NET,
        num_students=_NUM_STUDENTS,
        options=settings.options | options,
    )


def _measure_options(settings: Settings, **options: Any) -> Result:
    """Measure students with some options, in a process of their own."""
    work = _work(settings, **options)
    with Side(settings.device, partial(ddlabel_students, work)) as side:
        amount, set_up_seconds = side.paced(_START_EPOCHS, settings.seconds)
        turns = [side.run(amount) for _ in range(settings.rounds)]
    return {
        "figures": {},
        "options": options,
        "images_per_second": [turn["rate"] for turn in turns],
        "set_up_seconds": set_up_seconds,
        "peak_memory_bytes": turns[-1]["peak_memory_bytes"],
    }


def _measure_processes(settings: Settings) -> Result:
    """Measure five processes at once on one device, with one student each."""
    work = replace(_work(settings), num_students=1)
    with ExitStack() as stack:
        sides = []
        for _ in range(_NUM_STUDENTS):
            make_turn = partial(ddlabel_students, work)
            sides.append(stack.enter_context(Side(settings.device, make_turn)))
        pool = stack.enter_context(ThreadPoolExecutor(_NUM_STUDENTS))
        amount = _START_EPOCHS
        list(pool.map(lambda side: side.run(amount), sides))
        seconds = max(turn["seconds"] for turn in pool.map(lambda side: side.run(amount), sides))
        amount = max(amount, round(amount * settings.seconds / seconds))
        rates = []
        for _ in range(settings.rounds):
            turns = list(pool.map(partial(_take_turn, amount), sides))
            num_images = sum(turn["count"] for turn in turns)
            rates.append(num_images / max(turn["seconds"] for turn in turns))
    return {"figures": {}, "images_per_second": rates}


def _take_turn(amount: int, side: Side) -> Result:
    return side.run(amount)


def stream_students(settings: Settings) -> Turn:
    """Make a turn of so many steps of five students: a captured graph on a stream for each.

    The steps are those of a plain loop in bfloat16, without augmentation. Each graph is captured on
    the stream of its replays, because cuBLAS keeps one workspace for each stream. The turn gives a
    rate only: nobody has checked that weights which are trained side by side like this are right.
    """
    train = inputs.formats.read(str(inputs.few_images(settings)))
    images, labels = inputs.normalised_tensors(train, device="cuda")
    graphs = []
    for _ in range(_NUM_STUDENTS):
        net = reference.network(_NET, 32, 10).cuda()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, fused=True)

        def step(net: Any = net, optimizer: Any = optimizer) -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cuda", torch.bfloat16):
                logits = net(images)
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()

        stream = torch.cuda.Stream()
        graphs.append((stream, _captured(step, stream)))

    def turn(amount: int) -> Result:
        for _ in range(amount):
            for stream, graph in graphs:
                with torch.cuda.stream(stream):
                    graph.replay()
        torch.cuda.synchronize()
        return {"count": amount * len(images) * _NUM_STUDENTS}

    return turn


def _captured(step: Any, stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
    """Return a graph of a step, captured on a stream."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP_STEPS):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()
    return graph


def _measure_streams(settings: Settings) -> Result:
    """Measure five captured graphs on five streams."""
    if settings.device != "cuda":
        return {"figures": {}, "left_out": "captured graphs need a GPU"}
    with Side(settings.device, partial(stream_students, settings)) as side:
        amount, _ = side.paced(_START_EPOCHS, settings.seconds)
        rates = [side.run(amount)["rate"] for _ in range(settings.rounds)]
    return {
        "figures": {},
        "images_per_second": rates,
        "note": "a rate only: the trained weights were not checked",
    }


benchmark(f"{PREFIX}processes")(_measure_processes)
benchmark(f"{PREFIX}streams")(_measure_streams)
for _stack, _compile, _precision in itertools.product(
    (5, 1), ("off", "on"), ("bf16", "fp32", "tf32", "fp16")
):
    benchmark(f"{PREFIX}stack{_stack}-compile-{_compile}-{_precision}")(
        partial(_measure_options, stack=_stack, compile=_compile, precision=_precision)
    )
