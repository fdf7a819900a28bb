"""Loggers: the numbers of trainings for TensorBoard or Weights & Biases, while they are made.

A logger is a context manager that gives a function: this takes the name of a series (one training),
the step, and numbers by name. It listens to what commands report to their reporter.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from ddlabel.commands.reporter import Reporter
from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Registry

T = TypeVar("T")
Write = Callable[[str, int, Mapping[str, float]], None]
loggers: Registry[Callable[..., AbstractContextManager[Write]]] = Registry("logger")


@contextmanager
def logged(reporter: Reporter, spec: str | None) -> Iterator[Reporter]:
    """Give a reporter that also passes numbers to a logger; without a spec the same reporter.

    Raises:
        UsageError: The spec is wrong, or the package of the logger is not installed.
    """
    if spec is None:
        yield reporter
        return
    with loggers.resolve(spec)() as write:
        yield _LoggedReporter(reporter, write)


class _LoggedReporter(Reporter):
    """A reporter that passes numbers to a logger, and everything to another reporter."""

    def __init__(self, reporter: Reporter, write: Write) -> None:
        self._reporter = reporter
        self._write = write

    def note(self, text: str) -> None:
        """Report a line, or several."""
        self._reporter.note(text)

    def warn(self, text: str) -> None:
        """Report a line that is shown with --quiet too."""
        self._reporter.warn(text)

    def progress(self, steps: Iterable[T]) -> Iterable[T]:
        """Yield `steps` and show how many of them are done."""
        return self._reporter.progress(steps)

    def numbers(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Report numbers, and write them to the logger."""
        self._reporter.numbers(series, step, values)
        self._write(series, step, values)


@loggers.add
@contextmanager
def tensorboard(*, folder: str = "runs") -> Iterator[Write]:
    """Event files of TensorBoard in a folder of each training (extra tensorboard)."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise _missing("tensorboard", error) from error
    with ExitStack() as stack:
        writers: dict[str, Any] = {}

        def write(series: str, step: int, values: Mapping[str, float]) -> None:
            if series not in writers:
                path = Path(folder) / re.sub(r"[^A-Za-z0-9.=_-]+", "-", series)
                writers[series] = stack.enter_context(SummaryWriter(str(path)))
            for name, value in values.items():
                writers[series].add_scalar(name, value, step)

        yield write


@loggers.add
@contextmanager
def wandb(
    *, project: str = "ddlabel", mode: Literal["offline", "online"] = "offline"
) -> Iterator[Write]:
    """A run of Weights & Biases for each training (extra wandb); offline unless told otherwise."""
    try:
        import wandb as package
    except ImportError as error:
        raise _missing("wandb", error) from error
    with ExitStack() as stack:
        runs: dict[str, Any] = {}

        def write(series: str, step: int, values: Mapping[str, float]) -> None:
            if series not in runs:
                run = package.init(
                    project=project,
                    name=series,
                    mode=mode,
                    reinit="create_new",
                    settings={"silent": True, "console": "off"},
                )
                stack.callback(run.finish)
                runs[series] = run
            runs[series].log({"step": step, **values})

        yield write


def _missing(package: str, error: ImportError) -> UsageError:
    return UsageError(
        f"--log {package} needs the package {package}, which cannot be imported ({error}): "
        f"run pip install 'ddlabel[{package}]'"
    )
