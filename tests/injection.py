"""System calls that fail, are cut short, or kill the process: at the n-th call, n = 1, 2, 3 …"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from ddlabel.core.errors import DDLabelError
from ddlabel.data import exclusive

# The calls of `os` that files are read and written by, and those that change folders too.
FILE_CALLS = ("open", "write", "fsync", "close", "fchmod", "lseek", "ftruncate", "pread")
FILE_CALLS += ("link", "replace", "unlink", "dup", "stat", "fstat")
FOLDER_CALLS = ("mkdir", "rmdir", "rename", "listdir", "scandir", "sync")
CALLS: dict[str, tuple[Any, str]] = {name: (os, name) for name in FILE_CALLS + FOLDER_CALLS}
# The call of Linux that renames without replacing is not among Python's.
CALLS |= {"flock": (fcntl, "flock"), "_rename_exclusively": (exclusive, "_rename_exclusively")}
FAILING = (*FILE_CALLS, "flock", "_rename_exclusively")
# The calls that a process is killed at: `Path.open` too.
CALLS["Path.open"] = (io, "open")
Act = Callable[..., Any]
# The exit code of a fork that an exception ended which is no error of ours.
CRASHED = 99


class Faults:
    """Within the block, the n-th of all calls of these names of `CALLS` does what `act` does.

    `calls` counts the calls, and `name` is that of the n-th one, empty if there were not so many.
    """

    def __init__(self, nth: int, act: Act, only: tuple[str, ...] = FAILING) -> None:
        self.nth = nth
        self.act = act
        self.calls = 0
        self.name = ""
        self._only = only
        self._originals: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Faults:
        for name in self._only:
            module, attribute = CALLS[name]
            original = getattr(module, attribute)
            self._originals.append((module, attribute, original))
            setattr(module, attribute, self._wrapped(name, original))
        return self

    def __exit__(self, *error: object) -> None:
        for module, attribute, original in self._originals:
            setattr(module, attribute, original)

    def _wrapped(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls != self.nth:
                return original(*args, **options)
            self.name = name
            return self.act(self, name, original, *args, **options)

        return call


def fail(faults: Faults, name: str, original: Any, *args: Any, **options: Any) -> Any:
    """The call does nothing and fails. A file is closed nevertheless, as Linux does it."""
    if name == "close":
        original(*args, **options)
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def fail_after(faults: Faults, name: str, original: Any, *args: Any, **options: Any) -> Any:
    """The call does its work, and fails nevertheless; nobody is given a new descriptor."""
    result = original(*args, **options)
    if name in ("open", "dup"):
        os.close(result)
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def fill_disk(faults: Faults, name: str, original: Any, *args: Any, **options: Any) -> Any:
    """A write takes half of its bytes, and the next call of any kind finds no space."""
    if name != "write":
        return fail(faults, name, original, *args, **options)
    faults.nth += 1
    faults.act = fail
    descriptor, data = args
    return original(descriptor, data[: len(data) // 2])


def kill(faults: Faults, name: str, original: Any, *args: Any, **options: Any) -> Any:
    """The process dies before the call."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_after(faults: Faults, name: str, original: Any, *args: Any, **options: Any) -> Any:
    """The process dies after the call; a write has taken half of its bytes."""
    if name == "write":
        descriptor, data = args
        args = (descriptor, data[: len(data) // 2])
    original(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)


ERRORS = {"fail": fail, "fail_after": fail_after, "fill_disk": fill_disk}
KILLS = {"kill": kill, "kill_after": kill_after}


def every_call(run: Callable[[], None], act: Act) -> Iterator[tuple[str, Exception | None]]:
    """Run with a fault at the first call, at the second, … until there are not so many calls.

    Yields the name of the call that failed, and the error that `run` raised.
    """
    nth = 1
    while True:
        error = None
        with Faults(nth, act) as faults:
            try:
                run()
            except DDLabelError as raised:
                error = raised
        if not faults.name:
            assert error is None, "it fails without a fault"
            return
        yield faults.name, error
        nth += 1


def start_child(run: Callable[[], int | None]) -> int:
    """Run in a fork of this process, which leaves with the code that `run` returns, if any."""
    process = os.fork()
    if process:
        return process
    code = CRASHED
    try:
        code = run() or 0
    except DDLabelError as error:
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def code_of(process: int) -> int:
    """Wait for a fork. Return its exit code, negative for the signal that it died of."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def run_in_child(run: Callable[[], int | None]) -> int:
    """Run in a fork of this process, and return its exit code: see `code_of`."""
    return code_of(start_child(run))


def every_kill(run: Callable[[], None], act: Act) -> Iterator[int]:
    """Run in forks that die at the first call, at the second, …; yield the number of the call."""
    nth = 1
    while True:

        def run_and_die(nth: int = nth) -> None:
            with Faults(nth, act):
                run()

        code = run_in_child(run_and_die)
        if code == 0:
            return
        assert code == -signal.SIGKILL, code
        yield nth
        nth += 1
