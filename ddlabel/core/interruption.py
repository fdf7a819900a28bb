"""SIGINT and SIGTERM: a step is finished and its state saved first, where a command can go on.

The command line installs `on_signal`. In Python, where nobody does, nothing here has an effect, and
Ctrl-C is a KeyboardInterrupt as ever.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

BEGINS_AGAIN = "the same command begins again"
# Returns the sentence of what the same command does after this one was ended, or None.
Outlook = Callable[[], str | None]
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_PROCESS = os.getpid()
_STDERR = 2


class Interrupted(SystemExit):
    """A signal ended the command. No `except Exception` catches this."""

    def __init__(self, number: int, outlook: str) -> None:
        super().__init__(128 + number)
        self.exit_code = 128 + number
        self.message = f"{_WORDS[signal.Signals(number)]}: {outlook}"


class _State:
    """The signals of this process, and what its commands have said about them.

    Attributes:
        pending: The signal that waits for the end of a step, or None.
        interrupted: What was raised for a signal, or None. Libraries such as Ray may replace it by
            an exception of theirs on its way.
        num_deferring: How many blocks of `deferred` are open.
        outlooks: What the commands that are running have said, the innermost one last.
        last_outlook: What the command has said that ended last: its outcome is being printed.
    """

    def __init__(self) -> None:
        self.pending: int | None = None
        self.interrupted: Interrupted | None = None
        self.num_deferring = 0
        self.outlooks: list[Outlook] = []
        self.last_outlook: Outlook | None = None


_state = _State()


def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Handle a signal.

    The first one ends the command, or waits for the end of a step inside `deferred`. Another one
    ends it at once.

    Raises:
        Interrupted: The command ends.
    """
    if os.getpid() != _PROCESS:
        return  # A worker that reads images: its parent answers the signal and ends it.
    if _state.interrupted is not None:
        os._exit(_state.interrupted.exit_code)
    if _state.num_deferring and _state.pending is None:
        _state.pending = number
        word = _WORDS[signal.Signals(number)]
        text = f"{word}: finishing the step and saving; a second signal leaves at once\n"
        # Not by print: the signal may have come in the middle of one.
        os.write(_STDERR, text.encode())
        return
    _leave(number)


def interrupted() -> Interrupted | None:
    """Return what was raised for a signal, or None."""
    return _state.interrupted


def reset() -> None:
    """Forget all signals, before a command begins."""
    _state.pending = None
    _state.interrupted = None
    _state.last_outlook = None


def is_requested() -> bool:
    """Return whether a signal waits for the end of the step."""
    return _state.pending is not None


def leave_if_requested() -> None:
    """Leave if a signal waits for the end of the step. Save the state first.

    Raises:
        Interrupted: A signal waits.
    """
    if _state.pending is not None:
        _leave(_state.pending)


@contextmanager
def deferred(*, enabled: bool = True) -> Iterator[None]:
    """Let a signal wait, in a block that asks `is_requested` after every step.

    Raises:
        Interrupted: A signal came after the last step.
    """
    _state.num_deferring += enabled
    try:
        yield
    finally:
        _state.num_deferring -= enabled
    leave_if_requested()


@contextmanager
def outlook(sentence: Outlook) -> Iterator[None]:
    """Declare what the same command does after this one was ended inside the block.

    The innermost block counts that has a sentence; without one the same command begins again. After
    the outermost block its sentence still counts, while the outcome is printed.
    """
    _state.outlooks.append(sentence)
    try:
        yield
        if len(_state.outlooks) == 1:
            _state.last_outlook = sentence
    finally:
        _state.outlooks.pop()


def goes_on_from(place: str) -> str:
    """Return the sentence of a command whose state is saved."""
    return f"the same command goes on from {place}"


def is_finished(out: str) -> str:
    """Return the sentence of a command whose output is there: the same command refuses it."""
    return f"{out} is finished"


def _leave(number: int) -> None:
    outlooks = _state.outlooks or [_state.last_outlook or (lambda: None)]
    sentences = [sentence() for sentence in reversed(outlooks)]
    known = [sentence for sentence in sentences if sentence is not None]
    _state.interrupted = Interrupted(number, known[0] if known else BEGINS_AGAIN)
    raise _state.interrupted
