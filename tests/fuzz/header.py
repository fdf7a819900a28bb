"""The target of the fuzzer: no text makes the header parser fail, and none is taken for another."""

from __future__ import annotations

import io
import json
from typing import Any

from ddlabel.core.errors import IncompatibleError, InvalidInputError
from ddlabel.data.formats import safetensors
from ddlabel.data.provenance import canonical_json, sha256_of_text
from ddlabel.data.schema import Header


def check(data: bytes) -> int:
    """Try bytes as a file, as the text of a header, and as a header under its right digest.

    Returns how many of these were accepted. Any error but ours is a finding.
    """
    num_accepted = 0
    try:
        safetensors.declared_size(io.BytesIO(data))
        num_accepted += 1
    except (InvalidInputError, IncompatibleError):
        pass
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return num_accepted
    return num_accepted + sum(check_text(version) for version in (text, *signed(text)))


def check_text(text: str) -> bool:
    """Return whether a text is a header. Of one that is, nothing may be lost or read otherwise."""
    try:
        header = Header.from_json(text)
    except (InvalidInputError, IncompatibleError) as error:
        if "\n" in str(error):
            raise AssertionError("the message has several lines") from error
        return False
    body = json.loads(text)
    if header.to_json() != text or header.digest != body["digest"]:
        raise AssertionError("the header is not the one of the text")
    return True


def signed(text: str) -> list[str]:
    """The text with the digest that belongs to it, as an attacker would write it; none if no JSON.

    Without it the fuzzer would never get beyond the digest.
    """
    try:
        body: Any = json.loads(text)
        if not isinstance(body, dict):
            return []
        body.pop("digest", None)
        digest = sha256_of_text(canonical_json(body))
        return [canonical_json(body | {"digest": digest})]
    except (ValueError, TypeError, RecursionError):
        return []
