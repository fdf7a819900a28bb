"""`check`: verify a bundle. It needs no torch."""

from pathlib import Path
from typing import Any

from ddlabel.commands.command import command
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import Header


def _json_value(header: Header) -> dict[str, Any]:
    return {"sound": True, "digest": header.digest}


@command("check", json_value=_json_value)
def check(bundle: str | Path | Bundle) -> Header:
    """Verify a bundle: container, header, every digest, every number. Returns its header.

    Raises:
        InvalidInputError: The file is missing, foreign, cut off or damaged, or a number has no
            meaning.
        IncompatibleError: It is of another format version.
        UnsafeInputError: It refers to other files.
        UsageError: No format has its suffix.
    """
    if isinstance(bundle, Bundle):
        bundle.check_values()
        return bundle.header()
    _, header = formats.load(str(bundle))
    return header
