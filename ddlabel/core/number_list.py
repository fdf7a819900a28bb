"""Lists of whole numbers as a user writes them: `1,5,10-50`."""

import re

from ddlabel.core.errors import UsageError

_PART = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_MOST = 100_000


def read_numbers(flag: str, text: str) -> list[int]:
    """Return the numbers of a list with commas, in which `3-5` stands for 3, 4 and 5.

    Raises:
        UsageError: It is no such list, a number is there twice, or there are too many.
    """
    numbers: list[int] = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        first, last = (0, -1) if match is None else (int(match[1]), int(match[2] or match[1]))
        if not 0 <= last - first < _MOST:
            raise UsageError(f"{flag} is {text!r}: expected whole numbers such as 1,5,10-50")
        numbers += range(first, last + 1)
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"{flag} is {text!r}: a number is there twice: name each once")
    return numbers
