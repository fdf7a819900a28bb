"""How a command is declared: the public Python function, made from a body and a config.

A body is `body(*inputs, options=…, reporter=…)`; it may leave out the last two. The decorator
`command` turns it into the public function, whose keyword arguments are the options of the config
with their defaults. The command line and `sweep` call the same public function with a config that
they have read themselves.
"""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddlabel import __version__
from ddlabel.commands.loggers import logged
from ddlabel.commands.reporter import SILENT, Reporter
from ddlabel.core.errors import UsageError
from ddlabel.core.memory import is_out_of_memory, out_of_memory_error
from ddlabel.core.options import Options
from ddlabel.core.registry import nearest

if TYPE_CHECKING:  # numpy takes time to import, and --help needs none
    from ddlabel.data.bundle import Bundle
    from ddlabel.data.provenance import Input

# The module and the function of every command, in the order of the pipeline.
MODULES = {
    "demo": "demo",
    "import": "import_images",
    "select": "select",
    "train-expert": "train_expert",
    "import-expert": "import_expert",
    "relabel": "relabel",
    "densify": "densify",
    "learn": "learn",
    "refine": "refine",
    "edit": "edit",
    "import-labels": "import_labels",
    "compress": "compress",
    "describe": "describe",
    "show": "show",
    "doctor": "doctor",
    "evaluate": "evaluate",
    "sweep": "sweep",
    "compare": "compare",
    "report": "report",
    "export": "export",
    "info": "info",
    "check": "check",
    "list": "available",
    "guide": "guide",
}


@dataclass(frozen=True, kw_only=True)
class Made:
    """A bundle that a command made, and what its history says of where it comes from.

    Attributes:
        bundle: The bundle.
        source: The digest of the bundle that it came from.
        inputs: The other inputs.
        facts: What the command found in its inputs and no option says.
        settled: The options with what `auto` chose, if that differs from those given: the same
            outcome has the same history, however it was asked for.
    """

    bundle: "Bundle"
    source: str = ""
    inputs: "Sequence[Input]" = ()
    facts: Mapping[str, Any] | None = None
    settled: Options | None = None


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: its name, its config, its inputs, and its body.

    Attributes:
        name: The name on the command line.
        config: The class of its options.
        inputs: The parameters of the body besides `options` and `reporter`, by name.
        body: The function that does the work.
        json_value: Turns what the body returns into the value that `--json` prints. A bundle is
            written to a file instead: see `execute.make_bundle_file`.
    """

    name: str
    config: type[Options]
    inputs: Mapping[str, inspect.Parameter]
    body: Callable[..., Any]
    json_value: Callable[[Any], Any]

    @property
    def makes_bundle(self) -> bool:
        """Whether the result is a bundle, which the command line writes to a file."""
        return inspect.signature(self.body, eval_str=True).return_annotation is Made

    def run(self, inputs: Mapping[str, Any], options: Any, reporter: Reporter = SILENT) -> Any:
        """Run the body, and append the command to the history of the bundle that it made.

        With an option `log` the numbers that it reports go to a logger too.

        Raises:
            ResourceError: There is not enough memory.
        """
        parameters = inspect.signature(self.body).parameters
        first = options[0] if isinstance(options, list) else options
        try:
            with logged(reporter, getattr(first, "log", None)) as listener:
                shared = {"options": options, "reporter": listener}
                accepted = {name: value for name, value in shared.items() if name in parameters}
                result = self.body(**inputs, **accepted)
        except (MemoryError, OSError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise out_of_memory_error({field.name for field in fields(self.config)}) from error
            raise
        if not isinstance(result, Made):
            return result
        from ddlabel.data.provenance import Entry

        entry = Entry(
            command=self.name,
            version=__version__,
            options=(result.settled or options).recorded(),
            bundle=result.source,
            inputs=tuple(result.inputs),
            facts=dict(result.facts or {}),
        )
        return replace(result.bundle, history=(*result.bundle.history, entry))

    def options(self, given: Mapping[str, Any], config_file: str | Path | None = None) -> Any:
        """Return the config of Python values; a list of configs if the config has axes.

        Raises:
            UsageError: An option is unknown, has a wrong type or value, or does not go with others.
        """
        path = None if config_file is None else Path(config_file)
        configs = self.config.load(self.name, path, self.config.from_python(given))
        return configs if self.config.AXES else configs[0]


def _unchanged(result: Any) -> Any:
    return result


def command(
    name: str,
    config: type[Options] = Options,
    *,
    json_value: Callable[[Any], Any] = _unchanged,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a command. The decorated body becomes the public Python function.

    The public function takes the inputs of the body, the options of `config` as keywords, `config`
    (a TOML file, as `--config`), `options` (a config in place of keywords) and a `reporter`.
    `json_value` turns its result into the value that `--json` prints.
    """

    def declare(body: Callable[..., Any]) -> Callable[..., Any]:
        parameters = inspect.signature(body, eval_str=True).parameters.values()
        inputs = [p for p in parameters if p.name not in ("options", "reporter")]
        declared = Command(
            name=name,
            config=config,
            inputs={parameter.name: parameter for parameter in inputs},
            body=body,
            json_value=json_value,
        )
        return _public_function(declared, _public_signature(inputs, config))

    return declare


def _public_function(declared: Command, signature: inspect.Signature) -> Callable[..., Any]:
    """Return the public function of a command: inputs and options by name."""
    title = declared.body.__name__

    @functools.wraps(declared.body)
    def public(*args: Any, **keywords: Any) -> Any:
        options = keywords.pop("options", None)
        config_file = keywords.pop("config", None)
        reporter = keywords.pop("reporter", None) or SILENT
        unknown = keywords.keys() - signature.parameters.keys()
        if unknown:
            keyword = min(unknown)
            hint = nearest(keyword, [*signature.parameters])
            raise UsageError(f"{title}() has no option {keyword!r}: {hint}")
        given = signature.bind_partial(*args, **keywords).arguments
        inputs = {key: given.pop(key) for key in declared.inputs if key in given}
        if options is None:
            options = declared.options(given, config_file)
        elif given:
            raise UsageError("give a config as `options` or the options by name, not both")
        return declared.run(inputs, options, reporter)

    public.__signature__ = signature  # type: ignore[attr-defined]
    public.command = declared  # type: ignore[attr-defined]
    return public


def load_command(name: str) -> Command:
    """Import the module of a command and return its declaration.

    Raises:
        UsageError: There is no command of this name.
    """
    if name not in MODULES:
        raise UsageError(f"there is no command {name!r}: {nearest(str(name), MODULES)}")
    function = public_function(MODULES[name])
    declared: Command = function.command  # type: ignore[attr-defined]
    return declared


def public_function(name: str) -> Callable[..., Any]:
    """Import the module of a command and return its public function."""
    module = importlib.import_module(f"ddlabel.commands.{name}")
    function: Callable[..., Any] = getattr(module, name)
    return function


def _public_signature(own: list[inspect.Parameter], config: type[Options]) -> inspect.Signature:
    """Return the inputs of a body, then its options; arguments can be given by position."""
    hints = config.types()
    by_position = inspect.Parameter.POSITIONAL_OR_KEYWORD
    by_keyword = inspect.Parameter.KEYWORD_ONLY
    arguments: list[inspect.Parameter] = []
    keywords: list[inspect.Parameter] = []
    for field in fields(config):
        is_argument = bool(field.metadata["argument"])
        parameter = inspect.Parameter(
            field.name,
            by_position if is_argument else by_keyword,
            default=field.default,
            annotation=hints[field.name],
        )
        (arguments if is_argument else keywords).append(parameter)
    for name in ("config", "options", "reporter"):
        keywords.append(inspect.Parameter(name, by_keyword, default=None))
    return inspect.Signature([*own, *arguments, *keywords])
