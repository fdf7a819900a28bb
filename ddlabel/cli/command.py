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
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command
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
        has_options = "options" in inspect.signature(function).parameters
        parameters = parameters_of(name, function, config)

        def run(
            *,
            quiet: bool,
            as_json: bool,
            config_file: str | None = None,
            print_config: bool = False,
            **given: Any,
        ) -> None:
            reporter = TerminalReporter(command=name, quiet=quiet or RANK > 0, as_json=as_json)
            if has_options:
                texts = {field.name: given.pop(field.name) for field in fields(config)}
                path = None if config_file is None else Path(config_file)
                configs = config.load(name, path, values_of(config, texts))
                if print_config:
                    value = [dataclasses.asdict(each) for each in configs]
                    reporter.result(toml_lines(name, configs), value)
                    return
                given["options"] = configs if config.AXES else configs[0]
            if NUM_RANKS > 1:
                _check_ranked(name, given)
            function(**given, reporter=reporter)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__doc__ = function.__doc__
        app.command(name, cls=PanelCommand)(run)
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
    place = "standard output" if is_standard_output(out) else out
    if written:  # Rank 0 alone writes.
        reporter.done(f"wrote {shown_shapes(written['shapes'])} to {place}")
    if not is_standard_output(out):
        reporter.result(out, written)


def shown_shapes(shapes: Mapping[str, Sequence[int]]) -> str:
    """Return what a bundle holds: `100 images with soft labels and 25 dense labels each`."""
    labels = []
    if "soft_labels" in shapes:
        labels.append("soft labels")
    if "dense_labels" in shapes:
        labels.append(f"{shapes['dense_labels'][1]} dense labels each")
    held = " and ".join(labels) or "hard labels"
    return f"{shapes['images'][0]} images with {held}"


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
