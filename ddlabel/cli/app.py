"""The `ddlabel` command: all subcommands, and the one place where errors become lines and exit codes."""

import json
import os
import signal
import sys
import time
from types import FrameType
from typing import Annotated, NoReturn

import typer

from ddlabel import __version__
from ddlabel.cli import demo, evaluate, inspect, labels, learn, make, sweep  # noqa: F401 - to be registered
from ddlabel.cli.command import RANK, app, printable
from ddlabel.core.config_file import COMMANDS
from ddlabel.core.errors import ClosedPipeError, DDLabelError

_PROCESS = os.getpid()
_signalled: list[int] = []  # the exit codes that signals ask for
# In the help, the pipeline in its order comes first.
app.registered_commands.sort(key=lambda each: (*COMMANDS, each.name).index(each.name))


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


_Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
]


@app.callback()
def _root(version: _Version = False) -> None:
    pass


def main() -> NoReturn:
    """Run the command line and leave with the exit code of what happened."""
    signal.signal(signal.SIGTERM, _stopped)
    signal.signal(signal.SIGINT, _stopped)
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False))
    except SystemExit as done:  # Ray makes a 1 of whatever it was
        sys.exit(_signalled[0] if _signalled else done.code)
    except ClosedPipeError:
        # Python would complain once more when it flushes on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except DDLabelError as error:
        _leave(str(error), error.exit_code)
    except MemoryError:
        _leave("out of memory: use a smaller --batch-size, or a machine with more", 8)
    except OSError as error:
        _leave(f"{error.filename or 'input or output'}: {error.strerror or error}", 7)
    except RuntimeError as error:
        if any(word in str(error) for word in ("gloo", "NCCL", "DataLoader worker")):
            _leave(
                "another rank, or one of --workers, has ended: start the command again, and it goes on",
                8,
            )
        if type(error).__name__ != "OutOfMemoryError":
            raise
        _leave("the device is out of memory: use a smaller --batch-size, or --device cpu", 8)
    except Exception as error:
        # Typer's own errors, of options and arguments; by their look, because the module that has them is private.
        if not hasattr(error, "format_message"):
            raise
        _leave(f"{error.format_message()} (see 'ddlabel COMMAND --help')", 2)


def _leave(message: str, code: int) -> NoReturn:
    if RANK:
        # What happens to all of them rank 0 says, and torchrun ends the others while they wait here.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(code))
        time.sleep(5)
        message = f"rank {RANK}: {message}"
    as_json = json.dumps({"error": message, "exit_code": code})
    print(as_json if "--json" in sys.argv else f"error: {printable(message)}", file=sys.stderr)
    sys.exit(code)


def _stopped(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's signature
    if os.getpid() != _PROCESS:  # a worker that reads images: its parent answers, and ends it
        return
    # Leaves as an exception does, so that every temporary file is removed on the way out.
    _signalled.append(128 + number)
    word = "interrupted" if number == signal.SIGINT else "terminated"
    _leave(
        f"{word}: nothing half-written is left; the same command goes on, or begins again",
        128 + number,
    )
