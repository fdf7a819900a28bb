"""How a command of the command line is made: flags from its config, and one way to call it."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from ddlabel.cli.flags import parameters_of, toml_lines, values_of
from ddlabel.cli.help import PanelCommand
from ddlabel.cli.reporter import TerminalReporter, duration
from ddlabel.commands.command import load_command
from ddlabel.core import interruption
from ddlabel.core.errors import UsageError
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
# The commands that torchrun can start.
_RANKED = ("train-expert", "relabel", "densify")


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
        parameters = parameters_of(name, function, config)

        def run(*, quiet: bool, as_json: bool, **given: Any) -> None:
            reporter = TerminalReporter(command=name, quiet=quiet or RANK > 0, as_json=as_json)
            _run(name, function, config, given, reporter)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__doc__ = function.__doc__
        app.command(name, cls=PanelCommand)(run)
        return function

    return register


def _run(
    name: str,
    function: Callable[..., None],
    config: type[Options],
    given: dict[str, Any],
    reporter: TerminalReporter,
) -> None:
    """Read the options of a command line, and call the command unless only they are asked for."""
    config_file = given.pop("config_file", None)
    print_config = given.pop("print_config", False)
    plan_only = given.pop("plan_only", False)
    takes_options = "options" in inspect.signature(function).parameters
    texts = {field.name: given.pop(field.name) for field in fields(config) if takes_options}
    _check_not_empty(given)
    if takes_options:
        path = None if config_file is None else Path(config_file)
        configs = config.load(name, path, values_of(config, texts))
        if print_config:
            value = [dataclasses.asdict(each) for each in configs]
            reporter.result(toml_lines(name, configs), value)
            return
        given["options"] = configs if config.AXES else configs[0]
    if plan_only:
        _show_plan(name, given, reporter)
        return
    if NUM_RANKS > 1:
        _check_ranked(name, given)
    function(**given, reporter=reporter)


def _check_not_empty(given: Mapping[str, Any]) -> None:
    """Refuse an empty text in place of a file: as a path it would be the current folder."""
    for name, value in given.items():
        if value == "" or (isinstance(value, list) and "" in value):
            raise UsageError(f"{name.upper()} is empty: name a file or a folder")


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

    with interruption.outlook(lambda: finished_output(out, force=force)):
        written = make_bundle_file(
            load_command(name), inputs, out, options, force=force, reporter=reporter
        )
    place = "standard output" if is_standard_output(out) else out
    if written:  # Rank 0 alone writes.
        reporter.done(f"wrote {shown_shapes(written['shapes'])} to {place}")
    if not is_standard_output(out):
        reporter.result(out, written)


def finished_output(out: str, *, force: bool = False) -> str | None:
    """Return what is said of an interrupted command whose output is there: see `interruption`.

    None if it is not there, or cannot be known: with `force` it was there before.
    """
    from ddlabel.data.reading import is_standard_output

    path = Path(out)
    is_there = (path.is_file() or path.is_dir()) and not is_standard_output(out)
    return interruption.is_finished(out) if is_there and not force else None


def shown_shapes(shapes: Mapping[str, Sequence[int]]) -> str:
    """Return what a bundle holds: `100 images with soft labels and 25 dense labels each`."""
    labels = []
    if "soft_labels" in shapes:
        labels.append("soft labels")
    if "dense_labels" in shapes:
        labels.append(f"{shapes['dense_labels'][1]} dense labels each")
    held = " and ".join(labels) or "hard labels"
    return f"{shapes['images'][0]} images with {held}"


def _show_plan(name: str, given: Mapping[str, Any], reporter: TerminalReporter) -> None:
    """Print the estimated cost of a command in place of running it."""
    from ddlabel.commands.execute import Call
    from ddlabel.commands.planning import plan_call

    command = load_command(name)
    inputs = {key: given[key] for key in command.inputs if key in given}
    out = given["out"] if command.makes_bundle else None
    options = given["options"]
    planned = plan_call(Call(command=command, inputs=inputs, options=options, out=out, force=False))
    text = "the cost is not known before: quick students or random parts of the images decide it"
    cost = planned.cost
    if cost is not None and planned.seconds is not None:
        text = (
            f"{cost.flops / 1e9:,.1f} GFLOP, {cost.moved_bytes / 1e9:,.1f} GB through memory, "
            f"{cost.steps:,} steps: about {duration(planned.seconds)} of networks on this device, "
            "without reading, compiling and testing"
        )
    reporter.result(f"{name}: {text}", planned.value())


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
