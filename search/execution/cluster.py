"""Ray: used where this process is connected to it, joined at an address, or started here."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from search.process_state import (
    reach_loopback_directly,
    set_level,
    set_variables,
    signals_kept,
)
from spaces.cost.architecture import Architecture
from spaces.cost.configuration import Configuration
from spaces.errors import UserError
from spaces.file.resources import Placement, Resources
from spaces.functions.search import FunctionResources

OBJECT_STORE_BYTES = 200_000_000
"""Trials pass a few kilobytes; data and weights go through files."""

FIELDS = (("cpus", "CPU", 1.0), ("gpus", "GPU", 1.0), ("memory_gb", "memory", 1e9))
"""Fields of a placement, what Ray calls them, and Ray's units in one of the file's."""

LONGEST_TEMPORARY_FOLDER = 35
"""Bytes. The path of a socket has at most 103 to 107, and Ray adds up to 68:
``/ray/session_2026-11-30_17-52-32_123456_1234567/sockets/plasma_store``."""
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "60",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_one_search = threading.Lock()
"""Held while a search is connected: the end of one would end the connection of another."""


class ClusterError(UserError):
    """A cluster that cannot be reached, or lacks what a trial needs."""


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connect to a Ray cluster; without an address, start one on this machine and stop it after.

    A Ray that this process is connected to is used and left as it is. One that is started here
    asks for a token that only the children of this process know: without one, anybody who reaches a
    port may run code.

    Raises:
        ClusterError: It cannot be reached, this process is connected to another one, or another
            thread runs a search.
    """
    if not _one_search.acquire(blocking=False):
        raise ClusterError("this process runs another search; wait for it, or use tlc submit")
    try:
        with _connected(address):
            yield
    finally:
        _one_search.release()


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    set_variables(_QUIET)
    reach_loopback_directly()
    import ray

    set_level(logging.ERROR, "ray")
    # To Tune, a job whose worker died is an error; here it is started again and reported.
    set_level(logging.CRITICAL, "ray.tune")
    if ray.is_initialized():
        _check_is_connected_to(address)
        yield
        return
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    with ExitStack() as stack:
        if address is None:
            stack.enter_context(_private_token())
            local["_temp_dir"] = stack.enter_context(_session_folder())
        else:
            _check_reachable(address)
        try:
            with signals_kept():
                ray.init(
                    address=address or "local",
                    job_config=_job_config(),
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **({} if address else local),
                )
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            place = address or "this machine"
            raise ClusterError(f"address: no Ray cluster at {place}: {error}") from error
        stack.callback(ray.shutdown)
        yield


def spans_machines() -> bool:
    """Whether the connected cluster has several nodes, which must share what a search needs."""
    import ray

    return len([node for node in ray.nodes() if node["Alive"]]) > 1


def _job_config() -> Any:
    """A job whose workers do not look for modules in the current folder of this process.

    Ray puts that folder before site-packages, where a user's ``search.py`` would hide this package,
    unless the job brings a folder of its own.
    """
    from ray.job_config import JobConfig

    class IsolatedJob(JobConfig):  # type: ignore[misc]
        def _runtime_env_has_working_dir(self) -> bool:
            return True

    return IsolatedJob()


def bundle(placement: Placement) -> dict[str, float]:
    """What one worker occupies, as Ray names it."""
    wanted = {kind: scale * (getattr(placement, field) or 0.0) for field, kind, scale in FIELDS}
    return {kind: amount for kind, amount in wanted.items() if amount > 0.0}


def demand(placement_of: Callable[[Architecture], Placement], config: dict[str, Any]) -> Any:
    """What a job of Ray Tune occupies: a bundle for each worker of its model."""
    from ray.tune import PlacementGroupFactory

    model = Configuration.from_dict(config["configurations"][0])
    placement = placement_of(model.architecture)
    return PlacementGroupFactory([bundle(placement)] * placement.workers)


def may_run_another(
    concurrency: int | None, address: str | None, wanted: Placement, running: Sequence[Placement]
) -> bool:
    """Whether one more trial may run beside others: as the search says, else as the cluster is now.

    With a concurrency that exceeds the cluster's capacity, trials wait in Ray, which tells an
    autoscaler to grow.

    Args:
        concurrency: Trials at a time, where the search gives a number.
        address: Of a running cluster; None where Ray was started on this machine.
        wanted: What the next trial occupies.
        running: What each running trial occupies.
    """
    if concurrency is not None:
        if len(running) >= concurrency:
            return False
        if address is not None:
            return True
    return not running or has_capacity(wanted, beside=running)


def pending_jobs(concurrency: int | None, address: str | None) -> int:
    """Jobs that may wait in Ray at a time. Tune's default for a searcher is one, so that an
    autoscaler would add one node after another."""
    return concurrency if concurrency is not None and address is not None else 1


def seconds_for_nodes(
    concurrency: int | None, address: str | None, resources: Resources | FunctionResources
) -> float | None:
    """Seconds that a search waits for nodes at its start; None where the cluster does not grow: its
    concurrency says for how many trials an autoscaler adds nodes."""
    grows = concurrency is not None and address is not None
    return resources.nodes_deadline_seconds if grows else None


def has_capacity(placement: Placement, *, beside: Sequence[Placement]) -> bool:
    """Whether the cluster, as it is now, has capacity for one more trial beside others.

    What the next trial will occupy is not known yet: a larger model waits until there is capacity.
    """
    import ray

    left = defaultdict(float, ray.cluster_resources())
    for other in beside:
        for kind, amount in bundle(other).items():
            left[kind] -= amount * other.workers
    return all(left[kind] >= amount - 1e-6 for kind, amount in bundle(placement).items())


def capacity(placement: Placement) -> int:
    """Trials that the connected cluster runs at a time, if each occupies this."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return fitting(bundle(placement), nodes) // placement.workers


def fitting(wanted: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> int:
    """Bundles that fit into some nodes."""
    return sum(
        min(int(node.get(kind, 0.0) / amount + 1e-6) for kind, amount in wanted.items())
        for node in nodes
    )


def _check_is_connected_to(address: str | None) -> None:
    """Refuse an address that is not the one that this process is connected to."""
    if address in (None, "auto"):
        return
    import ray

    connected = ray.get_runtime_context().gcs_address
    if address != connected:
        raise ClusterError(
            f"address: this process is connected to another Ray cluster, at {connected}; leave "
            "address out to use that one, or call ray.shutdown() before"
        )


def _check_reachable(address: str) -> None:
    """Fail at once where Ray would retry for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5.0).close()
    except OSError as error:
        raise ClusterError(f"address: no Ray cluster at {address}: {error}") from error


@contextmanager
def _private_token() -> Iterator[None]:
    """Token authentication for a private cluster, unless this process has settings of its own.

    Its ports are open on every interface, whatever address is asked for. Ray's own default is one
    token for all clusters of a user, in a file that other users may be able to read.
    """
    if os.environ.get("RAY_AUTH_MODE"):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="tlc-ray-") as folder:
        token = Path(folder) / "token"
        token.touch(0o600, exist_ok=False)
        token.write_text(secrets.token_hex(32))
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        try:
            _read_authentication_settings()
            yield
        finally:
            for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
                os.environ.pop(name, None)
            _read_authentication_settings()


@contextmanager
def _session_folder() -> Iterator[str | None]:
    """The folder of Ray's sessions: its default, or where that is too long, one of its own.

    Ray's processes talk through sockets below it, whose paths the kernel limits.

    Raises:
        ClusterError: No folder for temporary files is short enough.
    """
    usual = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or SHORT_FOLDERS[0]
    if len(os.path.abspath(usual).encode()) <= LONGEST_TEMPORARY_FOLDER:
        yield None
        return
    folder = next((each for each in SHORT_FOLDERS if os.access(each, os.W_OK | os.X_OK)), None)
    if folder is None:
        raise ClusterError(
            f"TMPDIR: {usual} is too long for the sockets of Ray, and none of "
            f"{', '.join(SHORT_FOLDERS)} can be written; set RAY_TMPDIR to a folder of at most "
            f"{LONGEST_TEMPORARY_FOLDER} bytes"
        )
    with tempfile.TemporaryDirectory(prefix="tlc-", dir=folder, ignore_cleanup_errors=True) as own:
        yield own


def _read_authentication_settings() -> None:
    """Let Ray read the environment again: it does once, when it is imported.

    As Ray's own tests do, in this order: a thread of a cluster that has just ended would read the
    token again while the settings ask for one.
    """
    from ray import _raylet

    _raylet.Config.initialize("")  # type: ignore[attr-defined]
    _raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]
