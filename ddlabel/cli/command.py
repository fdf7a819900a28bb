"""How a command is made: options from its config, one way to read, run, append history and write."""

from __future__ import annotations

import inspect
import json
import sys
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from ddlabel import __version__, files, formats
from ddlabel.bundle import Bundle
from ddlabel.config import Options
from ddlabel.errors import ClosedPipeError, UsageError
from ddlabel.header import Header
from ddlabel.provenance import Entry, Input

T = TypeVar("T")
BundleIn = Annotated[str, typer.Argument(metavar="BUNDLE", help="bundle to read; - is standard input")]
BundleOut = Annotated[str, typer.Argument(metavar="OUT", help="bundle to write; - is standard output")]
Force = Annotated[bool, typer.Option("--force", help="replace an output that is there")]
ExpertRuns = Annotated[
    list[str], typer.Option("--expert", metavar="RUN", help="expert run, or a folder of runs; repeat for an ensemble")
]


def printable(text: str) -> str:
    """Text for a terminal: names of files and classes are data, and nothing in them may steer it."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


@dataclass(frozen=True, kw_only=True)
class Say:
    """What a command says: data on standard output, words for people on standard error."""

    quiet: bool
    as_json: bool

    def note(self, text: str) -> None:
        """A line for people."""
        if not self.quiet:
            Console(stderr=True, highlight=False, soft_wrap=True).print(printable(text), markup=False)

    def show(self, renderable: Any) -> None:
        """A table or other rich object for people."""
        if not self.quiet:
            # Piped, rich would squeeze a table into 80 columns.
            Console(stderr=True, width=None if sys.stderr.isatty() else 120).print(renderable)

    def bar(self, steps: Iterable[T]) -> Iterable[T]:
        """The same steps with a progress bar, on a terminal only."""
        from tqdm import tqdm

        hidden = self.quiet or not sys.stderr.isatty()
        bar: Iterable[T] = tqdm(steps, file=sys.stderr, disable=hidden, leave=False, dynamic_ncols=True)
        return bar

    def data(self, text: str, value: Any) -> None:
        """The outcome: a line of text, or JSON with --json."""
        try:
            print(json.dumps(value) if self.as_json else printable(text), flush=True)
        except BrokenPipeError:
            raise ClosedPipeError from None


def command(app: typer.Typer, name: str, config: type[Options]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as `ddlabel NAME`; its parameters `options` and `say` become flags.

    `options` is filled from the fields of `config` and from `--config FILE.toml`; what is given on the command line
    wins.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters.values()
        # What decides the outcome first, then the machine and the files.
        ordered = sorted(fields(config), key=lambda each: not each.metadata["recorded"])
        flags = {each.name: _flag(each, typing.get_type_hints(config)[each.name]) for each in ordered}
        common = {
            "config": (
                Path | None,
                typer.Option("--config", help=f"TOML file with options, in a table [{name}]"),
                None,
            ),
            "quiet": (bool, typer.Option("--quiet", "-q", help="say nothing but results and errors"), False),
            "as_json": (bool, typer.Option("--json", help="results and errors as JSON"), False),
        }
        if not flags:
            del common["config"]

        def run(**given: Any) -> None:
            say = Say(quiet=given.pop("quiet"), as_json=given.pop("as_json"))
            path = given.pop("config", None)
            values = {key: given.pop(key) for key in flags}
            function(**given, options=config.load(name, path, values), say=say)

        parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in own if p.name not in ("options", "say")]
        for key, (kind, info, default) in (flags | common).items():
            annotation = Annotated[kind, info]  # type: ignore[valid-type]
            parameters.append(
                inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            )
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__doc__ = function.__doc__
        app.command(name)(run)
        return function

    return register


def _flag(each: Any, kind: Any) -> tuple[Any, Any, Any]:
    """A field of a config as a command-line option; None means not given."""
    if each.metadata["argument"]:
        return kind, typer.Argument(metavar=each.metadata["argument"], help=each.metadata["help"]), None
    name = f"--{each.name.replace('_', '-')}"
    text = each.metadata["help"]
    if each.metadata["choices"]:
        text += f" [{'|'.join(each.metadata['choices'])}]"
    names = f"{name}/--no-{name[2:]}" if kind is bool else name
    # typer shows a default that it does not set itself in brackets: written here instead.
    text += "" if each.default is None or kind is bool else f" (default: {each.default})"
    return kind | None, typer.Option(names, help=text, show_default=False), None


def run_filter(
    name: str,
    bundle: str,
    out: str,
    options: Options,
    step: Callable[[Bundle], Bundle],
    say: Say,
    *,
    force: bool,
    inputs: Callable[[], Sequence[Input]] = tuple,
) -> Bundle:
    """What every bundle-to-bundle command does: refuse early, read and verify, run, append history, write whole.

    `inputs` is asked after the step, which may be what settles them. Returns the bundle that was written.
    """
    files.check_output(out, force=force)
    formats.format_of(out)
    source, header = formats.load(bundle)
    result = step(source)
    entry = Entry(
        command=name,
        version=__version__,
        options=options.recorded(),
        bundle=header.digest,
        inputs=tuple(inputs()),
    )
    return finish(result.with_entry(entry), out, say)


def finish(bundle: Bundle, out: str, say: Say) -> Bundle:
    """Write a bundle and say where it went."""
    header = formats.write(out, bundle)
    if out != files.STANDARD:
        say.data(out, {"out": out, "digest": header.digest, "shapes": shapes(header)})
    return bundle


def figures_line(accuracy: float, nats: float) -> str:
    """Label accuracy in [0, 1] and mean entropy in nats (nan for directions) as a phrase."""
    entropy = "" if nats != nats else f", mean entropy {nats:.3f} nats"
    return f"{100 * accuracy:.1f} % agree with the hard labels{entropy}"


def shapes(header: Header) -> dict[str, list[int]]:
    """The shape of every array."""
    return {name: list(info.shape) for name, info in header.arrays.items()}


def one_standard_input(paths: Sequence[str]) -> None:
    """Refuse more than one `-`.

    Raises:
        UsageError: naming the remedy.
    """
    if sum(path == files.STANDARD for path in paths) > 1:
        raise UsageError("only one input can be standard input: name a file for the other")
