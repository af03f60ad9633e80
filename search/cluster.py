"""Ray, local or remote: started privately here, joined where an address is given."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from spaces.errors import UserError
from spaces.search_file import SearchFile

OBJECT_STORE_BYTES = 200_000_000
"""Trials pass a few kilobytes; data and weights go through files."""

CONNECT_SECONDS = 5.0

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


class ClusterError(UserError):
    """A cluster that cannot be reached, or has not what a trial needs."""


@contextmanager
def cluster(search: SearchFile) -> Iterator[None]:
    """Connect to the search's Ray cluster, or start one on this machine for as long as it runs.

    A local Ray asks for a token that only this process's children know: without one, whoever
    reaches a port may run code.

    Raises:
        ClusterError: It cannot be reached, or no node has room for one trial.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if search.address is None:
        _require_token()
    else:
        _check_reachable(search.address)
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    # A job whose worker died is an error to Tune; here it comes again, and the driver tells of it.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        if search.address is None:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
            )
        else:
            ray.init(address=search.address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        place = search.address or "this machine"
        raise ClusterError(f"address: no Ray cluster at {place}: {error}") from error
    try:
        _check_room(search, dict(ray.cluster_resources()))
        yield
    finally:
        ray.shutdown()


def demand(search: SearchFile) -> dict[str, float]:
    """What one trial occupies, as Ray Tune wants it."""
    resources = search.resources
    wanted = {"cpu": float(resources.cpus), "gpu": resources.gpus}
    if resources.memory_gb is not None:
        wanted["memory"] = resources.memory_gb * 1e9
    return wanted


def task_options(search: SearchFile) -> dict[str, float]:
    """The same for a Ray task."""
    wanted = demand(search)
    names = {"cpu": "num_cpus", "gpu": "num_gpus", "memory": "memory"}
    return {names[kind]: amount for kind, amount in wanted.items()}


def concurrency(search: SearchFile) -> int:
    """Trials at a time: what the file says, else as many as the cluster has room for now.

    A cluster grows and shrinks while a search runs. Where the file says more than there is room
    for, the rest waits, which tells an autoscaler to grow.
    """
    import ray

    if search.concurrency is not None and search.address is not None:
        return search.concurrency
    fitting = max(1, _room(search, dict(ray.cluster_resources())))
    return min(search.concurrency or fitting, fitting)


def _room(search: SearchFile, resources: dict[str, float]) -> int:
    names = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}
    return min(
        int(resources.get(names[kind], 0.0) / amount)
        for kind, amount in demand(search).items()
        if amount > 0.0
    )


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Take SIGTERM, with which a cluster ends a job, for Ctrl-C: what is finished is kept."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_reachable(address: str) -> None:
    """Refuse at once what Ray would try to reach for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(f"address: no Ray cluster at {address}: {error}") from error


def _check_room(search: SearchFile, resources: dict[str, float]) -> None:
    for field, kind, needed in (
        ("cpus", "CPU", float(search.resources.cpus)),
        ("gpus", "GPU", search.resources.gpus),
        ("memory_gb", "memory", 1e9 * (search.resources.memory_gb or 0.0)),
    ):
        available = resources.get(kind, 0.0)
        if needed > available:
            scale = 1e9 if field == "memory_gb" else 1.0
            raise ClusterError(
                f"resources.{field}: a trial asks for {needed / scale:g}, the cluster has "
                f"{available / scale:.3g}"
            )


@lru_cache(maxsize=1)
def _require_token() -> tempfile.TemporaryDirectory[str] | None:
    """Set up token authentication for private clusters, for as long as this process lives.

    Their ports are open on every interface, whatever address is asked for.

    Raises:
        ClusterError: Ray was imported before and has read its settings, without a token.
    """
    if os.environ.get("RAY_AUTH_MODE"):
        return None
    if "ray" in sys.modules:
        raise ClusterError("Ray was imported before tlc could secure it: set RAY_AUTH_MODE=token")
    folder = tempfile.TemporaryDirectory(prefix="tlc-ray-")
    token = Path(folder.name) / "token"
    descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    return folder
