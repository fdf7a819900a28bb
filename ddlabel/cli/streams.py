"""The standard streams: closed ones, those of ASCII terminals, and those that nobody reads."""

import os
import sys


def prepare_streams() -> None:
    """Replace closed standard streams, and escape characters that a stream cannot encode.

    The descriptor of a closed stream would go to the next file that is opened, which would then
    get what is printed. Standard output that is closed refuses what is written to it.
    """
    for name, mode, flags in (
        ("stdin", "r", os.O_RDONLY),
        ("stdout", "w", os.O_RDONLY),
        ("stderr", "w", os.O_WRONLY),
    ):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, flags)
            stream = os.fdopen(descriptor, mode, encoding="utf-8", closefd=False)
            setattr(sys, name, stream)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Drop what standard output refused: Python would try again at its end, and report it."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, sys.stdout.fileno())
