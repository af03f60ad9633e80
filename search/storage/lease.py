"""The lease: which process runs a search, whether that process is alive, and the request to stop.

It is an attribute of the study in its database, so that any process that reaches the database can
read it and ask for a stop: a second terminal, a service, another machine.
``search.storage.lease_holder`` takes the lease and renews it.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from search.storage.errors import BusyStudy
from search.storage.states import State
from spaces.file.storage import home

if TYPE_CHECKING:
    from search.storage.base_study import BaseStudy

LEASE = "tlc:lease"
STOP = "tlc:stop"
RUN = "TLC_RUN"
"""Environment variable with the id of the run that a process was started for."""

HEARTBEAT_SECONDS = 5.0
EXPIRY_SECONDS = 30.0
"""Seconds without a heartbeat after which a lease has expired."""
OBSERVE_SECONDS = 2 * HEARTBEAT_SECONDS
"""Seconds for which an apparently expired lease is observed: clocks may differ."""
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Lease:
    """The right of one process to run a search, with its heartbeat.

    Args:
        run: Random id of this run of the search.
        home: The holder's ``TLC_HOME``: one machine may have several, several machines one.
        since: When it was taken, ISO 8601, by the holder's clock.
        last_heartbeat: ISO 8601, by the holder's clock.
        heartbeats: Number of heartbeats so far; 0 until the holder itself has written it.
        state: How the run ended; ``running`` before.
        ended: Why the run ended; empty before.
    """

    run: str = field(default_factory=lambda: os.environ.get(RUN) or uuid.uuid4().hex[:12])
    host: str = field(default_factory=socket.gethostname)
    home: str = field(default_factory=lambda: str(home()))
    pid: int = field(default_factory=os.getpid)
    since: str = field(default_factory=lambda: _now().isoformat())
    last_heartbeat: str = field(default_factory=lambda: _now().isoformat())
    heartbeats: int = 0
    state: State = "running"
    ended: str = ""

    def renewed(self) -> Lease:
        """The lease after its next heartbeat."""
        return replace(self, last_heartbeat=_now().isoformat(), heartbeats=self.heartbeats + 1)

    @property
    def looks_alive(self) -> bool:
        """Whether the last heartbeat is recent, provided that the holder's clock agrees."""
        age = (_now() - datetime.fromisoformat(self.last_heartbeat)).total_seconds()
        return 0.0 <= age <= EXPIRY_SECONDS

    @property
    def is_local(self) -> bool:
        """Whether the holder has this machine and home, where a file lock decides as well."""
        return (self.host, self.home) == (socket.gethostname(), str(home()))

    @property
    def is_orphaned(self) -> bool:
        """Whether the holder is known to be dead."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except PermissionError:
            return False
        except ProcessLookupError:
            return True
        return False


class LeaseMonitor:
    """Decides whether the holder of a lease is alive.

    It compares heartbeat counts by this process's monotonic clock; timestamps of another machine
    are only a hint.
    """

    def __init__(self) -> None:
        self._heartbeat: tuple[str, int] | None = None
        self._since = 0.0
        self._observed = 0.0
        self._has_moved = False

    def state(self, attributes: Mapping[str, Any]) -> State | None:
        """Whether a search runs, and how its last run ended, from its study's attributes.

        Returns:
            ``new`` before the first run; ``lost`` if the last run ended without recording why;
            None if the monitor must observe it longer.
        """
        lease = lease_of(attributes)
        if lease is None:
            return "new"
        if lease.state != "running":
            return lease.state
        silent = self._observe(lease)
        if self._has_moved:
            return "running" if silent <= EXPIRY_SECONDS else "lost"
        if lease.looks_alive:
            return "running"
        return "lost" if silent >= OBSERVE_SECONDS or lease.is_orphaned else None

    def _observe(self, lease: Lease) -> float:
        """Seconds for which this monitor has seen the same heartbeat."""
        now, heartbeat = time.monotonic(), (lease.run, lease.heartbeats)
        if heartbeat != self._heartbeat:
            is_same_run = self._heartbeat is not None and self._heartbeat[0] == lease.run
            # After a long time without an observation, it may have stopped long ago.
            self._has_moved = is_same_run and now - self._observed <= EXPIRY_SECONDS
            self._heartbeat, self._since = heartbeat, now
        self._observed = now
        return now - self._since


def lease_of(attributes: Mapping[str, Any]) -> Lease | None:
    """The last lease of a search, from its study's attributes; None before the first run."""
    values = attributes.get(LEASE)
    return None if values is None else Lease(**values)


def confirmed_state(study: BaseStudy[Any]) -> State:
    """Whether a search runs, and how its last run ended; observes its lease where needed."""
    monitor = LeaseMonitor()
    while (state := monitor.state(study.attributes)) is None:
        time.sleep(POLL_SECONDS)
    return state


def announce(study: BaseStudy[Any], before: Any | None) -> str:
    """Take the lease for a process that is about to be started.

    Args:
        before: The study's lease entry when the search was found not to be running.

    Returns:
        The id of the run, for ``TLC_RUN`` in the environment of the process.

    Raises:
        BusyStudy: Another process was started since.
    """
    lease = Lease(run=uuid.uuid4().hex[:12])
    if not study.exchange(LEASE, before, asdict(lease)):
        raise just_started(study)
    return lease.run


def hand_over(study: BaseStudy[Any], run: str, pid: int) -> None:
    """Write the pid of the started process into an announced lease.

    The process that announced it may end before the started one has sent its first heartbeat.
    """
    before = study.attributes.get(LEASE)
    # Not where the process has sent a heartbeat already, or another run holds the lease.
    if before is not None and before["run"] == run and before["heartbeats"] == 0:
        study.exchange(LEASE, before, {**before, "pid": pid})


def request_stop(study: BaseStudy[Any]) -> None:
    """Ask the lease holder to stop, as Ctrl-C does; it does so within a second or two.

    Raises:
        BusyStudy: The search is not running.
    """
    state = confirmed_state(study)
    lease = lease_of(study.attributes)
    if lease is None or state != "running":
        raise BusyStudy(f"search {study.name!r} is not running; it is {state}")
    study.optuna.set_user_attr(STOP, lease.run)


def just_started(study: BaseStudy[Any]) -> BusyStudy:
    """The error where another process has taken the lease in the meantime."""
    return BusyStudy(f"search {study.name!r} is running already: it was started just now")


def _now() -> datetime:
    return datetime.now(UTC)
