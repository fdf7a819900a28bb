"""Seeds of random generators, so that a resumed run continues with the same random numbers."""

import hashlib


def stream(seed: int, name: str, *position: int) -> int:
    """Return a seed of 63 bits for the random stream `name` at `position` (epoch, step, class, …).

    The seed depends on the arguments alone, not on what was drawn before. Streams with different
    seeds, names or positions are independent of each other.
    """
    text = ":".join([str(seed), name, *map(str, position)])
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
