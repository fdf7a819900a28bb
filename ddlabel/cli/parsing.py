"""Errors of the command line's parser, in the words of this project."""

from typing import Any

from ddlabel.core.registry import nearest


def is_parsing_error(error: BaseException) -> bool:
    """Return whether Typer raised this error for the words of a command line.

    The module that has the class of these errors is private.
    """
    return hasattr(error, "format_message")


def message_of(error: Any) -> str:
    """Return one line for an error of the parser, and where help is found."""
    context = getattr(error, "ctx", None)
    words = _words_of(error, context)
    return words if context is None else f"{words} (see '{context.command_path} --help')"


def _words_of(error: Any, context: Any) -> str:
    place = context.info_name if context is not None else "ddlabel"
    option = str(getattr(error, "option_name", ""))
    kind = type(error).__name__
    if kind == "NoSuchOption":
        known = [name for parameter in context.command.params for name in parameter.opts]
        # Short names, of one letter, resemble everything.
        hint = nearest(option, [name for name in known if name.startswith("--")])
        return f"{place} has no option {option!r}: {hint}"
    if kind == "MissingParameter":
        parameter = error.param
        is_argument = parameter.param_type_name == "argument"
        name = parameter.metavar or parameter.name.upper() if is_argument else parameter.opts[0]
        return f"{place} needs {name}: add it"
    if kind == "BadOptionUsage":
        return f"{option} needs a value: write one behind it"
    words = " ".join(error.format_message().split())
    extra = words.removeprefix("Got unexpected extra argument")
    if extra != words:
        names = extra.removeprefix("(s)").removeprefix("s").strip(" ()")
        return f"{place} takes no argument {names}: leave it out, or put options before it"
    return words
