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
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from spaces.cost.configuration import Configuration
from spaces.errors import UserError
from spaces.file.resources import Placement
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace

OBJECT_STORE_BYTES = 200_000_000
"""Trials pass a few kilobytes; data and weights go through files."""

CONNECT_SECONDS = 5.0

FIELDS = (("cpus", "CPU", 1.0), ("gpus", "GPU", 1.0), ("memory_gb", "memory", 1e9))
"""Fields of a placement, what Ray calls them, and Ray's units in one of the file's."""

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
        with _sigterm_kept():
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
        _check_capacity(search, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        yield
    finally:
        ray.shutdown()


def bundle(place: Placement) -> dict[str, float]:
    """What one worker occupies, as Ray names it."""
    wanted = {kind: scale * (getattr(place, field) or 0.0) for field, kind, scale in FIELDS}
    return {kind: amount for kind, amount in wanted.items() if amount > 0.0}


def demand(search: SearchFile, config: dict[str, Any]) -> Any:
    """What a job of Ray Tune occupies: a bundle for each worker of its model."""
    from ray.tune import PlacementGroupFactory

    model = Configuration.from_dict(config["configurations"][0])
    place = search.placement(model.architecture)
    return PlacementGroupFactory([bundle(place)] * place.workers)


def task_options(search: SearchFile) -> dict[str, float]:
    """What a Ray task occupies that trains nothing: no GPU, as models are scored on the CPU."""
    names = {"CPU": "num_cpus", "memory": "memory"}
    wanted = bundle(search.resources)
    return {names[kind]: amount for kind, amount in wanted.items() if kind in names}


def has_capacity(search: SearchFile, running: Sequence[Configuration]) -> bool:
    """Whether one more trial may run beside others: as the file says, else as the cluster is now.

    A cluster grows and shrinks while a search runs. Where the file says more than there is room
    for, the rest waits, which tells an autoscaler to grow. What the next trial will occupy is not
    known yet: a larger model waits until there is room for it.

    Args:
        search: The search file.
        running: A configuration of each job that runs.
    """
    import ray

    if search.concurrency is not None:
        if len(running) >= search.concurrency:
            return False
        if search.address is not None:
            return True
    if not running:
        return True
    left = defaultdict(float, ray.cluster_resources())
    for configuration in running:
        place = search.placement(configuration.architecture)
        for kind, amount in bundle(place).items():
            left[kind] -= amount * place.workers
    return all(left[kind] >= amount - 1e-6 for kind, amount in bundle(search.resources).items())


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Take SIGTERM, with which a cluster ends a job, for Ctrl-C: what is finished is kept."""

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with _sigterm_kept():
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, interrupt)
        yield


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Leave what SIGTERM does as it was, which Ray changes when it is started: to the end of the
    process with a page of C++ stack."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
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


def _check_capacity(search: SearchFile, nodes: list[dict[str, float]]) -> None:
    """Refuse what models of the space ask for and the cluster has not.

    Args:
        search: The search file.
        nodes: Resources of each node.
    """
    largest = SearchSpace(search).largest_parameters
    for field, place in search.resources.placements(largest).items():
        wanted = bundle(place)
        for name, kind, scale in FIELDS:
            most = max(node.get(kind, 0.0) for node in nodes)
            if wanted.get(kind, 0.0) > most:
                raise ClusterError(
                    f"{field}.{name}: a trial asks for {wanted[kind] / scale:g} on one node, the "
                    f"cluster has {most / scale:.3g}"
                )
        room = sum(
            min(int(node.get(kind, 0.0) / amount + 1e-6) for kind, amount in wanted.items())
            for node in nodes
        )
        if room < place.workers:
            each = ", ".join(f"{amount:g} {kind}" for kind, amount in wanted.items())
            raise ClusterError(
                f"{field}.workers: a model asks for {place.workers} with {each} each, the cluster "
                f"has room for {room}"
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
