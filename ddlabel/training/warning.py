"""Warnings about work that goes on in another way than was asked for."""

import functools
import logging


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning to the logger `ddlabel`; the same message is logged once in a process."""
    logging.getLogger("ddlabel").warning(message)
