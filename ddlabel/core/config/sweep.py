"""Options of `sweep`."""

from dataclasses import dataclass

from ddlabel.core.option import option
from ddlabel.core.options import Options


@dataclass(frozen=True, kw_only=True)
class SweepOptions(Options):
    """`sweep`: one command over a grid of its options."""

    out: str = option(
        "sweep.jsonl",
        "results file (.jsonl) to which one record for each finished cell is appended",
    )
    shard: str = option("1/1", "for job arrays, I/N from 1/N to N/N: run the cells I, I+N, I+2N, …")
    plan: bool = option(
        default=False, help="show the cells with FLOPs and an estimate of the time, and run none"
    )
    ray: bool = option(default=False, help="run the cells side by side on Ray")
    ray_address: str = option(
        "local",
        "local starts Ray here; HOST:PORT, ray://HOST:PORT or auto connect to a cluster",
        only_with="ray",
    )
    cpus_per_cell: int = option(1, "CPU cores, and threads, of each cell", low=1, only_with="ray")
    gpus_per_cell: float = option(
        0.0,
        "GPUs of each cell, also fractions; with 0 the cell sees none",
        low=0,
        only_with="ray",
    )
