"""How a command of the command line is made: flags from its config, and one way to call it."""

import inspect
import typing
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command
from ddlabel.core.conditions import Conditions
from ddlabel.core.errors import UsageError
from ddlabel.core.option import flag_of
from ddlabel.core.options import Options
from ddlabel.core.ranks import NUM_RANKS, RANK

app = typer.Typer(
    name="ddlabel",
    help="Make, improve and measure the labels of distilled datasets.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
BundleArgument = Annotated[
    str, typer.Argument(metavar="BUNDLE", help="bundle to read; - is standard input")
]
OutArgument = Annotated[
    str, typer.Argument(metavar="OUT", help="bundle to write; - is standard output")
]
Force = Annotated[bool, typer.Option("--force", help="replace an output that exists")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print only results and errors")]
_AsJson = Annotated[bool, typer.Option("--json", help="print results and errors as JSON")]
# The commands that torchrun can start.
_RANKED = ("train-expert", "relabel", "densify")
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def cli_command(
    name: str, config: type[Options] = Options
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as `ddlabel NAME`.

    The parameter `options` of the function is filled from the fields of `config` and from `--config
    FILE.toml`; flags win over the file. If the config has axes, it is a list with one config for
    each combination of their values. The parameter `reporter` is a `TerminalReporter`. All other
    parameters are arguments and flags of Typer.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        has_options = "options" in inspect.signature(function).parameters
        parameters = _typer_parameters(name, function, config)

        def run(
            *, quiet: bool, as_json: bool, config_file: str | None = None, **given: Any
        ) -> None:
            if has_options:
                values = {field.name: given.pop(field.name) for field in fields(config)}
                path = None if config_file is None else Path(config_file)
                configs = config.load(name, path, values)
                given["options"] = configs if config.AXES else configs[0]
            if NUM_RANKS > 1:
                _check_ranked(name, given)
            function(**given, reporter=TerminalReporter(quiet=quiet or RANK > 0, as_json=as_json))

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__doc__ = function.__doc__
        app.command(name)(run)
        return function

    return register


def write_bundle(
    name: str,
    inputs: dict[str, Any],
    out: str,
    options: Any,
    reporter: TerminalReporter,
    *,
    force: bool,
) -> None:
    """Run a command that makes a bundle, write the bundle, and print its path."""
    from ddlabel.commands.execute import make_bundle_file
    from ddlabel.data.reading import is_standard_output

    written = make_bundle_file(
        load_command(name), inputs, out, options, force=force, reporter=reporter
    )
    if not is_standard_output(out):
        reporter.result(out, written)


def _typer_parameters(
    name: str, function: Callable[..., None], config: type[Options]
) -> list[inspect.Parameter]:
    """Return the parameters of a command: its own, its options, and those of every command."""
    hints = config.types()
    # Options that decide the outcome come first, then the machine and the files.
    ordered = sorted(fields(config), key=lambda field: not field.metadata["recorded"])
    annotations = {field.name: _flag(config, field, hints[field.name]) for field in ordered}
    if annotations:
        toml = typer.Option("--config", help=f"TOML file with options, in a table [{name}]")
        annotations["config_file"] = Annotated[str | None, toml]
    annotations |= {"quiet": _Quiet, "as_json": _AsJson}
    parameters = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if parameter.name not in ("options", "reporter"):
            parameters.append(parameter.replace(kind=_KEYWORD))
    for key, annotation in annotations.items():
        parameters.append(inspect.Parameter(key, _KEYWORD, default=None, annotation=annotation))
    return parameters


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
    # Typer shows a default that it does not set itself in brackets: it is written here instead.
    if declared.default not in (None, ()) and kind is not bool:
        text += f" (default: {declared.default})"
    if declared.metadata["auto"]:
        kind = str
    metavar = None
    if declared.name in config.AXES or typing.get_origin(kind) is tuple:
        kind = list[str]
        metavar = "TEXT"
        text += "; repeatable"
    names = f"{flag}/--no-{flag.removeprefix('--')}" if kind is bool else flag
    flag_option = typer.Option(names, help=text + goes_with, show_default=False, metavar=metavar)
    return Annotated[kind | None, flag_option]


def _check_ranked(name: str, given: dict[str, Any]) -> None:
    """Refuse what several ranks cannot do.

    Raises:
        UsageError: The command runs in one process, or an input can be read only once.
    """
    if name not in _RANKED:
        raise UsageError(
            f"{name} runs in one process, unlike {', '.join(_RANKED)}: run it without torchrun"
        )
    from ddlabel.data.reading import is_standard_input

    has_real = getattr(given["options"], "real", None) is not None
    inputs = [given[name] for name in ("bundle", "real") if name in given]
    if has_real or any(is_standard_input(str(name)) for name in inputs):
        raise UsageError(
            "under torchrun the inputs must be files; run once without it to choose by --real, "
            "then pass the --epoch and --temperature that it chose"
        )
