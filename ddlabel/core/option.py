"""The declaration of one option, and the check of its value."""

from collections.abc import Mapping, Sequence
from dataclasses import Field, field
from typing import Any, TypeVar

from ddlabel.core.conditions import parse_conditions
from ddlabel.core.errors import UsageError
from ddlabel.core.registry import nearest

T = TypeVar("T")
# The panels of a command's help, in their order: first the options that decide the outcome.
OPTIONS = "Options"
LABELS = "Labels"
TRIALS = "Choice by trial"
TRAINING = "Training"
TESTING = "Testing"
COMPARISON = "Comparison"
MACHINE = "Machine"
OUTPUT = "Output"
PANELS = (OPTIONS, LABELS, TRIALS, TRAINING, TESTING, COMPARISON, MACHINE, OUTPUT)


def option(
    default: T,
    help: str,  # noqa: A002 - the name that typer and argparse use
    *,
    panel: str | None = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    recorded: bool = True,
    part_of_key: bool = True,
    argument: str | None = None,
    auto: bool = False,
    only_with: str | Sequence[str] = (),
    not_with: str | Sequence[str] = (),
    needs: Mapping[str, str | Sequence[str]] | None = None,
) -> T:
    """Declare an option: a field of a config.

    The last three arguments declare which options go together, see `Options.check_together`. A
    condition is `NAME` (the option is given) or `NAME=VALUE|VALUE` (it has one of these values).

    Args:
        default: The default value.
        help: The help text.
        panel: The panel of the help in which it stands, one of `PANELS` (default: that of the class
            which declares it, `Options.PANEL`).
        low: The smallest value.
        high: The largest value.
        above: A bound that every value must exceed.
        choices: The values that a text may have.
        recorded: False for an option that changes how the work is done but not its outcome. It is
            not written to histories and result records.
        part_of_key: False for an option that only adds figures to a result record. A record that
            has these figures serves whether the option was given or not.
        argument: The name in the usage line of an option that is given by position, without flag.
        auto: Whether the value is a number or the word `auto`.
        only_with: The option is refused unless at least one of these conditions is met.
        not_with: The option is refused if one of these conditions is met.
        needs: By value of the option, the conditions: the value is refused if none of them is met.
    """
    metadata = {
        "help": help,
        "panel": panel,
        "low": low,
        "high": high,
        "above": above,
        "choices": choices,
        "recorded": recorded,
        "part_of_key": part_of_key,
        "argument": argument,
        "auto": auto,
        "conditions": parse_conditions(only_with, not_with, needs),
    }
    value: T = field(default=default, metadata=metadata)
    return value


def flag_of(declared: "Field[Any]") -> str:
    """Return an option as the user writes it: `--real-epochs`, or the name of an argument."""
    return declared.metadata["argument"] or f"--{declared.name.replace('_', '-')}"


def number_or_auto(declared: "Field[Any]", value: float | str) -> float | str:
    """Return the value of an option that is a number or the word `auto`.

    Raises:
        UsageError: The value is another text.
    """
    if value == "auto":
        return value
    try:
        return float(value)
    except ValueError:
        raise UsageError(f"{flag_of(declared)} is {value!r}: expected a number or auto") from None


def check_value(declared: "Field[Any]", value: Any) -> None:
    """Check a value against the choices and the bounds of its option.

    Raises:
        UsageError: The value is not one of the choices, or out of bounds.
    """
    rules = declared.metadata
    if value is None:
        return
    if value == "" or (isinstance(value, tuple) and "" in value):
        raise UsageError(f"{flag_of(declared)} is empty: give it a value, or leave it out")
    if rules["choices"] and value not in rules["choices"]:
        hint = nearest(str(value), rules["choices"])
        raise UsageError(f"{flag_of(declared)} is {value!r}: {hint}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        _check_bounds(declared, value)


def _check_bounds(declared: "Field[Any]", value: float) -> None:
    low, high, above = (declared.metadata[name] for name in ("low", "high", "above"))
    is_low_enough = high is None or value <= high
    is_high_enough = (low is None or value >= low) and (above is None or value > above)
    is_nan = value != value
    if is_low_enough and is_high_enough and not is_nan:
        return
    ends = {"at least": low, "above": above, "at most": high}
    bounds = [f"{word} {end:g}" for word, end in ends.items() if end is not None]
    expected = " and ".join(bounds) or "a number"
    raise UsageError(f"{flag_of(declared)} is {value:g}: expected {expected}")
