"""How an expert run differs from the one that is asked for."""

from dataclasses import asdict
from typing import Any

from ddlabel.data.expert_run import ExpertInfo
from ddlabel.data.provenance import canonical_json

_MOST_CHARACTERS = 60


def differing_fields(there: ExpertInfo, asked: ExpertInfo) -> list[str]:
    """Return the names of the fields and options in which two runs differ, sorted."""
    values, wanted = _flat(there), _flat(asked)
    return sorted(
        name for name in wanted if canonical_json(values.get(name)) != canonical_json(wanted[name])
    )


def describe_differences(there: ExpertInfo, asked: ExpertInfo) -> str:
    """Return the options in which a run that is there differs from what is asked, with values.

    Fields that follow from options and images are named only where nothing else differs.
    """
    different = differing_fields(there, asked)
    values, wanted = _flat(there), _flat(asked)
    parts = []
    for name in different:
        if name in asked.options:
            flag = f"--{name.replace('_', '-')}"
            parts.append(f"{flag} {_shown(values.get(name))} (asked: {_shown(wanted[name])})")
    if "data" in different:
        parts.append("other training images")
    for name in [] if parts else different:
        parts.append(f"{name} {_shown(values.get(name))} (now: {_shown(wanted[name])})")
    return ", ".join(parts)


def _flat(info: ExpertInfo) -> dict[str, Any]:
    """Return the fields of an info and its options by name."""
    values = asdict(info) | info.options
    del values["options"]
    return values


def _shown(value: Any) -> str:
    text = "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
