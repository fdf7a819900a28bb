"""Lists of whole numbers."""

from __future__ import annotations

import pytest

from ddlabel.core.errors import UsageError
from ddlabel.core.number_list import read_numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("3", [3]), ("1,5,10-12", [1, 5, 10, 11, 12]), (" 2 , 0", [2, 0]), ("4-4", [4])],
)
def test_numbers_and_ranges(text, numbers):
    assert read_numbers("--epochs", text) == numbers


@pytest.mark.parametrize("text", ["", "1,", "a", "-1", "3-1", "1.5", "0-999999999", "1,1", "1-3,2"])
def test_other_texts_are_refused(text):
    with pytest.raises(UsageError, match="--epochs"):
        read_numbers("--epochs", text)
