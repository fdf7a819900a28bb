"""Options of `select`."""

from dataclasses import dataclass

from ddlabel.core.config.shared import RuntimeOptions, expert_epoch
from ddlabel.core.option import option


@dataclass(frozen=True, kw_only=True)
class SelectOptions(RuntimeOptions):
    """`select`: a few images of each class."""

    ipc: int = option(10, "images per class", low=1)
    seed: int = option(0, "seed of the draw", low=0)
    method: str = option(
        "random", "selector spec, e.g. cross-entropy:rank=easiest or rded:factor=2,crops=5"
    )
    epoch: str = expert_epoch("expert", only_with="expert")
    expert: tuple[str, ...] = option(
        (), "expert run, or a folder of runs; several form an ensemble", recorded=False
    )
