"""Running the cells of a sweep side by side on Ray."""

import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ddlabel.commands.sweep.grid import Cell
from ddlabel.commands.sweep.run import Outcome, error_line, run_cell
from ddlabel.core.config import SweepOptions
from ddlabel.core.errors import ResourceError, UsageError

# Ray writes the address of the cluster that runs on this machine here.
_CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")  # noqa: S108 - Ray writes it there
_OBJECT_STORE_BYTES = 1 << 27
_SECONDS_TO_CONNECT = 10
# The preface of an HTTP/2 client, and an empty frame of settings. Ray speaks HTTP/2.
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_HTTP2_FRAME_HEAD_BYTES = 9
_HTTP2_SETTINGS = b"\4"


def run_on_ray(cells: Sequence[Cell], options: SweepOptions) -> Iterator[tuple[int, Outcome]]:
    """Yield the outcome of every cell with its number, as they finish.

    Raises:
        UsageError: Ray is not installed.
        ResourceError: Ray does not answer within seconds, or has no room for a cell.
    """
    ray = _import_ray()
    address = _find_address(options.ray_address)
    try:
        _connect(ray, address, options.cpus_per_cell)
        _check_room(ray, options)
        remote = ray.remote(
            num_cpus=options.cpus_per_cell, num_gpus=options.gpus_per_cell, max_retries=0
        )(run_cell)
        folder = str(Path.cwd())
        waiting = {}
        for number, cell in enumerate(cells):
            waiting[remote.remote(cell.command, cell.given, folder)] = number
        while waiting:
            (finished,), _ = ray.wait([*waiting], num_returns=1)
            yield waiting.pop(finished), _outcome_of(ray, finished)
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        first_line = str(error).splitlines()[0]
        raise ResourceError(
            f"--ray: {address}: {first_line}; is 'ray start --head' running there?"
        ) from error
    finally:
        ray.shutdown()


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise UsageError("--ray needs Ray: pip install 'ddlabel[ray]'") from None
    return ray


def _find_address(address: str) -> str:
    """Return the address of the cluster that `auto` means, or the address as it is."""
    if address != "auto":
        return address
    from_environment = os.environ.get("RAY_ADDRESS")
    if from_environment:
        return from_environment
    return _CURRENT_CLUSTER.read_text() if _CURRENT_CLUSTER.exists() else address


def _connect(ray: Any, address: str, num_cpus: int) -> None:
    """Start Ray on this machine (`local`), or connect to a cluster.

    Raises:
        OSError, OverflowError, ValueError, RuntimeError: Ray does not answer.
    """
    _check_answers(address)
    settings: dict[str, Any] = {
        "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(num_cpus)}},
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    if address == "local":
        settings["include_dashboard"] = False
        settings["object_store_memory"] = _OBJECT_STORE_BYTES
    on_termination = signal.getsignal(signal.SIGTERM)
    ray.init(address, **settings)
    # Ray replaces the handler, and then the exit code of a signal would be lost.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_termination)


def _check_answers(address: str) -> None:
    """Check that Ray answers at an address: `ray.init` would wait for minutes.

    Raises:
        OSError, OverflowError: Nothing answers.
        ValueError: Something else answers.
    """
    if address in ("local", "auto"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    with socket.create_connection((host, port), timeout=_SECONDS_TO_CONNECT) as connection:
        connection.sendall(_HTTP2_GREETING)
        answer = connection.recv(_HTTP2_FRAME_HEAD_BYTES)
    # The fourth byte is the type of the frame.
    if answer[3:4] != _HTTP2_SETTINGS:
        raise ValueError("what answers is not Ray: expected HOST:PORT of a running Ray")


def _check_room(ray: Any, options: SweepOptions) -> None:
    """Check that one machine has the CPUs and GPUs that a cell needs.

    Raises:
        ValueError: No machine has.
    """
    num_cpus, num_gpus = options.cpus_per_cell, options.gpus_per_cell
    for node in ray.nodes():
        resources = node["Resources"] if node["Alive"] else {}
        if resources.get("CPU", 0) >= num_cpus and resources.get("GPU", 0) >= num_gpus:
            return
    raise ValueError(f"no machine there has {num_cpus} CPUs and {num_gpus:g} GPUs for a cell")


def _outcome_of(ray: Any, finished: Any) -> Outcome:
    """Return the outcome of a cell that has ended; an error if its process was killed."""
    try:
        outcome: Outcome = ray.get(finished)
    except ray.exceptions.RayError as error:
        return Outcome(error=error_line(error))
    return outcome
