"""The `ddlabel` command: all subcommands, and the one place where errors become exit codes."""

import contextlib
import json
import os
import signal
import sys
import time
from types import FrameType
from typing import Annotated, NoReturn

import typer

from ddlabel import __version__
from ddlabel.cli import (  # noqa: F401 - importing a module registers its command
    available,
    check,
    compress,
    demo,
    densify,
    describe,
    edit,
    evaluate,
    guide,
    import_images,
    info,
    learn,
    refine,
    relabel,
    select,
    sweep,
    train_expert,
)
from ddlabel.cli.command import app
from ddlabel.cli.reporter import printable
from ddlabel.cli.streams import discard_output, prepare_streams
from ddlabel.commands.command import MODULES
from ddlabel.core.errors import ClosedPipeError, DDLabelError
from ddlabel.core.ranks import RANK

_PROCESS = os.getpid()
_SECONDS_FOR_RANK_0 = 5
# Words in the errors of processes that another one has left alone.
_LOST_PROCESS = ("gloo", "NCCL", "DataLoader worker")
# The beginning of pathlib's error, a RuntimeError before Python 3.13.
_SYMLINK_LOOP = "Symlink loop"
# The exit codes that signals ask for.
_exit_codes_of_signals: list[int] = []
# The help lists the commands in the order of the pipeline.
_ORDER = list(MODULES)
app.registered_commands.sort(key=lambda command: _ORDER.index(str(command.name)))


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        print(__version__)
        raise typer.Exit


_Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="print the version"),
]


@app.callback()
def _root(version: _Version = False) -> None:
    pass


def main() -> NoReturn:
    """Run the command line and exit with the code of its outcome (`ddlabel guide errors`)."""
    signal.signal(signal.SIGTERM, _exit_on_signal)
    signal.signal(signal.SIGINT, _exit_on_signal)
    prepare_streams()
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False))
    except SystemExit as done:
        if isinstance(done.__context__, BrokenPipeError):  # Typer turns it into code 1.
            discard_output()
            sys.exit(0)
        # Ray turns every exit code into 1.
        sys.exit(_exit_codes_of_signals[0] if _exit_codes_of_signals else done.code)
    except (ClosedPipeError, BrokenPipeError):
        discard_output()
        sys.exit(0)
    except DDLabelError as error:
        _exit_with_error(str(error), error.exit_code)
    except MemoryError:
        _exit_with_error("out of memory: use a smaller --batch-size, or a machine with more", 8)
    except OSError as error:
        place = error.filename or "input or output"
        _exit_with_error(f"{place}: {error.strerror or error}", 7)
    except RuntimeError as error:
        _exit_with_runtime_error(error)
    except Exception as error:
        # Typer's own errors, of options and arguments. The module that has their class is private.
        if not hasattr(error, "format_message"):
            raise
        message = " ".join(error.format_message().split())
        command = getattr(getattr(error, "ctx", None), "info_name", None)
        place = f"ddlabel {command}" if command in MODULES else "ddlabel"
        _exit_with_error(f"{message} (see '{place} --help')", 2)


def _exit_with_runtime_error(error: RuntimeError) -> NoReturn:
    """Exit with a line for the errors of torch that a user can do something about."""
    if any(word in str(error) for word in _LOST_PROCESS):
        _exit_with_error(
            "another rank, or one of --workers, has ended: start the command again, and it goes on",
            8,
        )
    if type(error).__name__ == "OutOfMemoryError":
        _exit_with_error(
            "the device is out of memory: use a smaller --batch-size, or --device cpu", 8
        )
    if str(error).startswith(_SYMLINK_LOOP):
        _exit_with_error(f"{error}: its symbolic links lead back to it", 7)
    raise error


def _exit_with_error(message: str, code: int) -> NoReturn:
    """Print an error as one line, or as JSON with --json, and exit."""
    if RANK:
        # Rank 0 reports what happens to all ranks. torchrun ends the others while they wait here.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(code))
        time.sleep(_SECONDS_FOR_RANK_0)
        message = f"rank {RANK}: {message}"
    line = f"error: {printable(message)}"
    if "--json" in sys.argv:
        line = json.dumps({"error": message, "exit_code": code})
    # The exit code is all that is left where standard error is full or nobody reads it.
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()
    sys.exit(code)


def _exit_on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Exit as an exception does, so that temporary files are removed."""
    if os.getpid() != _PROCESS:
        return  # A worker that reads images: its parent answers the signal and ends it.
    code = 128 + number
    _exit_codes_of_signals.append(code)
    word = "interrupted" if number == signal.SIGINT else "terminated"
    _exit_with_error(
        f"{word}: nothing half-written is left; the same command goes on, or begins again", code
    )
