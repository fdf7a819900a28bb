"""How a command is made: options from its config, one way to read, run, append history and write."""

import inspect
import json
import os
import sys
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from ddlabel import __version__
from ddlabel.core.conditions import Conditions
from ddlabel.core.errors import ClosedPipeError, UsageError
from ddlabel.core.option import flag_of
from ddlabel.core.options import Options
from ddlabel.core.registry import nearest
from ddlabel.data import atomic, formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import Entry, Input
from ddlabel.data.reading import STANDARD
from ddlabel.data.schema import Header

app = typer.Typer(
    name="ddlabel",
    help="Make, improve and measure the labels of distilled datasets.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
T = TypeVar("T")
Step = Callable[[Bundle], Bundle]
_binders: dict[str, Callable[..., "partial[None]"]] = {}
# This process's number among those that torchrun started, and how many there are.
RANK, RANKS = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
BundleIn = Annotated[
    str, typer.Argument(metavar="BUNDLE", help="bundle to read; - is standard input")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="say nothing but results and errors")]
AsJson = Annotated[bool, typer.Option("--json", help="results and errors as JSON")]


def printable(text: str) -> str:
    """Text for a terminal: names of files and classes are data, and nothing in them may steer it."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


@dataclass(frozen=True, kw_only=True)
class Reporter:
    """What a command says: data on standard output, or into `kept`; words for people on standard error.

    Under torchrun rank 0 alone says anything.
    """

    quiet: bool = True
    as_json: bool = True
    kept: list[Any] | None = None

    def note(self, text: str) -> None:
        """A line for people."""
        if not self.quiet:
            Console(stderr=True, highlight=False, soft_wrap=True).print(
                printable(text), markup=False
            )

    def show(self, renderable: Any) -> None:
        """A table or other rich object for people."""
        if not self.quiet:
            # Piped, rich would squeeze a table into 80 columns.
            Console(stderr=True, width=None if sys.stderr.isatty() else 120).print(renderable)

    def bar(self, steps: Iterable[T]) -> Iterable[T]:
        """The same steps with a progress bar, on a terminal only."""
        from tqdm import tqdm

        bar: Iterable[T] = tqdm(
            steps, file=sys.stderr, disable=self.quiet or None, leave=False, dynamic_ncols=True
        )
        return bar

    def data(self, text: str, value: Any) -> None:
        """The outcome: a line of text, or JSON with --json."""
        if self.kept is not None:
            self.kept.append(value)
            return
        try:
            if not RANK:
                print(json.dumps(value) if self.as_json else printable(text), flush=True)
        except BrokenPipeError:
            raise ClosedPipeError from None


def bound(command: str, **values: Any) -> "partial[None]":
    """A command with values of its arguments and options by name: what is left is to call it with `say`.

    They are checked as the command line's are: Typer's errors, and UsageError for a name or a value that cannot be.
    """
    parser = vars(typer.main.get_command(app))["commands"].get(command)
    if parser is None:
        raise UsageError(f"there is no command {command!r}: {nearest(str(command), _binders)}")
    known = {
        each.name: each.nargs == -1 or getattr(each, "multiple", False) for each in parser.params
    }
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{command} has no option {key!r}: {nearest(key, known)}")
        if isinstance(value, list) and not known[key]:
            raise UsageError(f"{key} of {command} is {value!r}: expected one value, not a list")
    texts = {
        key: [*map(str, listed(value))] if known[key] else str(value)
        for key, value in values.items()
    }
    return _binders[command](**parser.make_context(command, [], default_map=texts).params)


def listed(value: Any) -> list[Any]:
    """A list as it is, another value as a list of one."""
    return value if isinstance(value, list) else [value]


def command(
    name: str, config: type[Options] = Options
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as `ddlabel NAME`; its parameters `options` and `say` become flags.

    `options`, of a command with a `config`, is filled from that one's fields and from `--config FILE.toml`; what is on
    the command line wins. Where the config has axes it is a list, one config for each combination of their values.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        hints = typing.get_type_hints(config)
        # What decides the outcome first, then the machine and the files.
        ordered = sorted(fields(config), key=lambda each: not each.metadata["recorded"])
        flags = {each.name: _flag(config, each, hints[each.name]) for each in ordered}
        toml = typer.Option("--config", help=f"TOML file with options, in a table [{name}]")
        file = {"config_file": Annotated[str | None, toml]} if flags else {}
        added = flags | file | {"quiet": Quiet, "as_json": AsJson}
        own = inspect.signature(function, eval_str=True).parameters.values()
        parameters = [
            p.replace(kind=_KEYWORD) for p in own if p.name not in ("options", "reporter")
        ]
        parameters += [
            inspect.Parameter(key, _KEYWORD, default=None, annotation=each)
            for key, each in added.items()
        ]

        def bind(
            *, quiet: bool, as_json: bool, config_file: str | None = None, **given: Any
        ) -> "partial[None]":
            values = {key: given.pop(key) for key in flags}
            if flags:
                configs = config.load(name, Path(config_file) if config_file else None, values)
                given["options"] = configs if config.AXES else configs[0]
            return partial(
                function, **given, reporter=Reporter(quiet=quiet or RANK > 0, as_json=as_json)
            )

        def run(**given: Any) -> None:
            bound_call = bind(**given)
            if RANKS > 1:
                _check_ranked(name, bound_call.keywords)
            bound_call()

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__doc__ = function.__doc__
        app.command(name)(run)
        _binders[name] = bind
        return function

    return register


def _check_ranked(name: str, given: dict[str, Any]) -> None:
    """Refuse what cannot be done by several ranks."""
    if name not in ("train-expert", "relabel", "densify"):
        raise UsageError(
            f"{name} runs in one process, unlike train-expert, relabel, densify: leave out torchrun"
        )
    if getattr(given["options"], "real", None) or STANDARD in (
        given.get("bundle"),
        given.get("real"),
    ):
        raise UsageError(
            "with torchrun, name a file and not -, and give what --real chose without torchrun"
        )


def join(options: Any, inputs: Callable[[], dict[str, Any]]) -> None:
    """Under torchrun, come together with the other ranks, which must have the same options and inputs."""
    if RANKS > 1:
        from ddlabel.training import distributed as ranks

        ranks.join(
            options.device, {"command": type(options).__name__} | options.recorded() | inputs()
        )


def _flag(config: type[Options], declared: "Field[Any]", kind: Any) -> Any:
    """Return a field of a config as the annotation of a parameter."""
    text = declared.metadata["help"]
    choices = declared.metadata["choices"]
    conditions: Conditions = declared.metadata["conditions"]
    goes_with = conditions.help(config.flags())
    flag = flag_of(declared)
    if declared.metadata["argument"]:
        return Annotated[kind, typer.Argument(metavar=flag, help=text + goes_with)]
    if choices:
        text += f" [{'|'.join(choices)}]"
    # typer shows a default that it does not set itself in brackets: written here instead.
    if declared.default not in (None, ()) and kind is not bool:
        text += f" (default: {declared.default})"
    if declared.metadata["auto"]:
        kind = str
    if declared.name in config.AXES or typing.get_origin(kind) is tuple:
        kind = list[str]
        text += "; repeatable"
    names = f"{flag}/--no-{flag.removeprefix('--')}" if kind is bool else flag
    return Annotated[kind | None, typer.Option(names, help=text + goes_with, show_default=False)]


def run_filter(
    name: str,
    bundle: str,
    out: str,
    options: Options,
    step: Step,
    reporter: Reporter,
    force: bool,
    inputs: Sequence[Input] = (),
) -> Bundle:
    """What every bundle-to-bundle command does: refuse early, read and verify, run, append history, write whole.

    The step may be what settles `inputs`: they are read after it. Returns the bundle that was written.
    """
    atomic.check_output(out, force=force)
    formats.format_of(out)
    source, header = formats.load(bundle)
    return finish(name, step(source), out, options, reporter, inputs, header.digest)


def finish(
    name: str,
    bundle: Bundle,
    out: str,
    options: Options,
    reporter: Reporter,
    inputs: Sequence[Input],
    source: str = "",
) -> Bundle:
    """Write a bundle with the command in its history, made of a bundle of digest `source`, and say where it went."""
    if RANK:  # rank 0 writes
        raise typer.Exit
    entry = Entry(
        command=name,
        version=__version__,
        options=options.recorded(),
        bundle=source,
        inputs=tuple(inputs),
    )
    header = formats.write(out, replace(bundle, history=(*bundle.history, entry)))
    if out != STANDARD:
        reporter.data(out, {"out": out, "digest": header.digest, "shapes": shapes(header)})
    return bundle


def figures_line(*, accuracy: float, entropy_nats: float | None) -> str:
    """Label accuracy in [0, 1] and mean entropy in nats, which directions have none of, as a phrase."""
    entropy = "" if entropy_nats is None else f", mean entropy {entropy_nats:.3f} nats"
    return f"{100 * accuracy:.1f} % agree with the hard labels{entropy}"


def shapes(header: Header) -> dict[str, list[int]]:
    """The shape of every array."""
    return {name: list(info.shape) for name, info in header.arrays.items()}


def one_standard_input(paths: Sequence[str]) -> None:
    """Raise UsageError for more than one `-`."""
    if sum(path == STANDARD for path in paths) > 1:
        raise UsageError("only one input can be standard input: name a file for the other")
