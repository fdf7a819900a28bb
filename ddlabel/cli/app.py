"""The `ddlabel` command: all subcommands, and the one place where errors become exit codes."""

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from typing import Annotated, NoReturn

import typer

from ddlabel import __version__
from ddlabel.cli import (  # noqa: F401 - importing a module registers its command
    available,
    check,
    compare,
    compress,
    demo,
    densify,
    describe,
    doctor,
    edit,
    evaluate,
    export,
    guide,
    import_expert,
    import_images,
    import_labels,
    info,
    learn,
    refine,
    relabel,
    report,
    select,
    show,
    sweep,
    train_expert,
)
from ddlabel.cli.command import app
from ddlabel.cli.parsing import is_parsing_error, message_of
from ddlabel.cli.streams import discard_output, prepare_streams
from ddlabel.commands.command import MODULES
from ddlabel.core import interruption
from ddlabel.core.errors import (
    ClosedPipeError,
    DDLabelError,
    ResourceError,
    StorageError,
    UsageError,
)
from ddlabel.core.memory import is_out_of_memory, out_of_memory_error
from ddlabel.core.ranks import RANK
from ddlabel.core.registry import nearest
from ddlabel.core.text import printable

_SECONDS_FOR_RANK_0 = 5
# This environment variable shows the traceback of every error, of ours and of signals too.
_DEBUG = "DDLABEL_DEBUG"
# Words in the errors of processes that another one has left alone.
_LOST_PROCESS = ("gloo", "NCCL", "DataLoader worker")
# The beginning of pathlib's error, a RuntimeError before Python 3.13.
_SYMLINK_LOOP = "Symlink loop"
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
    interruption.reset()
    signal.signal(signal.SIGTERM, interruption.on_signal)
    signal.signal(signal.SIGINT, interruption.on_signal)
    prepare_streams()
    words = sys.argv[1:] or ["--help"]
    try:
        _check_command(words[0])
        sys.exit(app(words, prog_name="ddlabel", standalone_mode=False))
    except (SystemExit, KeyboardInterrupt) as done:
        if isinstance(done.__context__, BrokenPipeError):  # Typer turns it into code 1.
            discard_output()
            sys.exit(0)
        # Ray replaces the exception of a signal by one of its own.
        interrupted = interruption.interrupted()
        if interrupted is None:
            raise
        _exit_with_error(interrupted.message, interrupted.exit_code)
    except (ClosedPipeError, BrokenPipeError):
        discard_output()
        sys.exit(0)
    except DDLabelError as error:
        _exit_with_error(str(error), error.exit_code)
    except (MemoryError, ImportError, OSError, RuntimeError) as error:
        _exit_with_system_error(error)
    except Exception as error:
        if not is_parsing_error(error):
            raise
        _exit_with_error(message_of(error), UsageError.exit_code)


# Names that other programs give to what is done here by a command of another name.
_OTHER_WORDS = {
    "convert": "'ddlabel export BUNDLE OUT' writes it in another format (.h5, .npz, …), and "
    "'ddlabel import' makes a bundle of foreign files",
    "train": "'ddlabel train-expert' trains an expert, and 'ddlabel evaluate' trains students",
}


def _check_command(name: str) -> None:
    """Refuse a command that does not exist, in the words of this project.

    Raises:
        UsageError: There is no command of this name.
    """
    if not name.startswith("-") and name not in MODULES:
        hint = _OTHER_WORDS.get(name) or nearest(name, MODULES)
        raise UsageError(f"there is no command {name!r}: {hint}")


def _exit_with_system_error(error: Exception) -> NoReturn:
    """Exit with a line for the errors of the machine that a user can do something about."""
    if is_out_of_memory(error):
        _exit_with_error(str(out_of_memory_error()), ResourceError.exit_code)
    if isinstance(error, OSError):
        place = error.filename or "input or output"
        _exit_with_error(f"{place}: {error.strerror or error}", StorageError.exit_code)
    if any(word in str(error) for word in _LOST_PROCESS):
        _exit_with_error(
            "another rank, or one of --workers, has ended: start the command again, and it goes on",
            ResourceError.exit_code,
        )
    if str(error).startswith(_SYMLINK_LOOP):
        _exit_with_error(f"{error}: its symbolic links lead back to it", StorageError.exit_code)
    raise error


def _exit_with_error(message: str, code: int) -> NoReturn:
    """Print an error as one line, or as JSON with --json, and exit."""
    if RANK:
        # Rank 0 reports what happens to all ranks. torchrun ends the others while they wait here.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(code))
        time.sleep(_SECONDS_FOR_RANK_0)
        message = f"rank {RANK}: {message}"
    if os.environ.get(_DEBUG, "0") not in ("", "0"):
        traceback.print_exc()
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
