"""Errors and their exit codes."""

from __future__ import annotations

import pytest

from ddlabel.core import errors

# The exit codes that the guide documents.
EXIT_CODES = {
    "UsageError": 2,
    "InvalidInputError": 3,
    "UnsafeInputError": 4,
    "IncompatibleError": 5,
    "OutputExistsError": 6,
    "StorageError": 7,
    "ClosedPipeError": 0,
    "ResourceError": 8,
    "SweepError": 9,
}


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
def test_error_has_its_documented_exit_code(name, code):
    assert getattr(errors, name).exit_code == code


def test_every_kind_of_error_is_in_the_table():
    assert {kind.__name__ for kind in errors.DDLabelError.__subclasses__()} == set(EXIT_CODES)


def test_a_kind_of_error_needs_an_exit_code():
    with pytest.raises(TypeError):
        type("NewError", (errors.DDLabelError,), {})


def test_a_message_is_one_line_whatever_names_are_in_it():
    error = errors.InvalidInputError("x\nerror: forged\x1b[2J.pt: it is damaged")
    assert str(error) == r"x\nerror: forged\x1b[2J.pt: it is damaged"
    assert str(errors.InvalidInputError(f"y: {error}")) == f"y: {error}"
