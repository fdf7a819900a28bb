"""Random numbers as a function of (seed, stream name, position), so that a resumed run continues bit for bit."""

import hashlib


def stream(seed: int, name: str, *position: int) -> int:
    """A 63-bit seed for the generator of one named stream at one position (epoch, step, class, …).

    Streams of different names or positions are independent, and nothing depends on what was drawn before.
    """
    text = ":".join([str(seed), name, *map(str, position)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
