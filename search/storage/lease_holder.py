"""Holding the lease of a search: taking it, sending heartbeats, and obeying the request to stop."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objectives.store.locks import LockBusy, try_exclusive_lock
from search.storage.database_retry import retrying
from search.storage.errors import BusyStudy, StudyUnavailable
from search.storage.lease import (
    HEARTBEAT_SECONDS,
    LEASE,
    OBSERVE_SECONDS,
    RUN,
    STOP,
    Lease,
    confirmed_state,
    just_started,
    lease_of,
)
from search.storage.states import State
from spaces.errors import UserError

if TYPE_CHECKING:
    from search.storage.base_study import BaseStudy

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""Seconds between two checks for a request to stop."""


@contextmanager
def local_lease(name: str, folder: Path) -> Iterator[None]:
    """Lock a search against other processes of this machine.

    Raises:
        BusyStudy: Another process runs it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with try_exclusive_lock(folder / f"{name}.lock"):
            yield
    except LockBusy as error:
        raise BusyStudy(f"search {name!r} is running already, in another process") from error


def refuse_if_held_elsewhere(study: BaseStudy[Any]) -> None:
    """Raise where a process of another machine or home runs the search.

    Call it inside ``local_lease``, which excludes processes of this machine and home.

    Raises:
        BusyStudy: The search is running.
    """
    lease = lease_of(study.attributes)
    if lease is None or lease.is_local or lease.run == os.environ.get(RUN):
        return
    if confirmed_state(study) == "running":
        raise BusyStudy(
            f"search {study.name!r} is running already, on {lease.host} (last heartbeat: "
            f"{lease.last_heartbeat}); tlc stop {study.name} stops it"
        )


class LeaseHolder:
    """Renews the lease of a search from a thread, which also notices the request to stop.

    Args:
        on_stop: Called in this thread, once, when the search must stop.
    """

    def __init__(self, study: BaseStudy[Any], on_stop: Callable[[], None]) -> None:
        self._study = study
        self._on_stop = on_stop
        self._stop = threading.Event()
        self._lease = Lease()
        self._final: tuple[State, str] = ("failed", "")
        self.has_begun = False
        """Whether the run may have changed the study: one that is refused before leaves the study
        as it is, with how the last run ended."""
        self._renewed = time.monotonic()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lease", daemon=True)

    def end(self, state: State, ended: str) -> None:
        """Set what ``release`` writes of how the run ended; ``failed`` by default."""
        self._final = state, ended

    def take(self, before: Any | None) -> bool:
        """Take the lease if its entry still is ``before``; returns whether it was."""
        if not self._study.exchange(LEASE, before, asdict(self._lease)):
            return False
        self._thread.start()
        return True

    @property
    def has_lost_lease(self) -> bool:
        """Whether another process holds the lease now, which it can only have taken while the
        heartbeats of this one stopped, because it was frozen."""
        if time.monotonic() - self._renewed < OBSERVE_SECONDS:
            return False
        return not self._holds(self._study.attributes)

    @property
    def must_stop(self) -> bool:
        """Whether somebody asked the search to stop, or another process runs it now."""
        return self._stop.is_set()

    def release(self) -> None:
        """Write how the run ended, unless another process holds the lease."""
        self._released.set()
        self._thread.join()
        self._renew(*self._final)

    def _holds(self, attributes: dict[str, Any]) -> bool:
        current = lease_of(attributes)
        return current is not None and current.run == self._lease.run

    def _work(self) -> None:
        since_renewal = 0.0
        while not self._released.wait(CHECK_SECONDS):
            since_renewal += CHECK_SECONDS
            try:
                attributes = self._study.attributes
                if not self._holds(attributes):
                    log.warning("another process runs this search now; this one stops")
                    self._request_stop()
                    return
                if attributes.get(STOP) == self._lease.run:
                    self._request_stop()
                if since_renewal >= HEARTBEAT_SECONDS:
                    self._renew()
                    since_renewal = 0.0
            except Exception:
                # Whatever the database raises while it is unavailable: the main thread reports it.
                continue

    def _request_stop(self) -> None:
        if not self._stop.is_set():
            self._stop.set()
            self._on_stop()

    def _renew(self, state: State = "running", ended: str = "") -> None:
        """Replace the own entry, never that of another run."""
        attributes = self._study.attributes
        if not self._holds(attributes):
            return
        self._lease = replace(self._lease.renewed(), state=state, ended=ended)
        now = time.monotonic()
        if self._study.exchange(LEASE, attributes[LEASE], asdict(self._lease)):
            self._renewed = now


@contextmanager
def holding_lease(
    study: BaseStudy[Any], on_stop: Callable[[], None] = lambda: None
) -> Iterator[LeaseHolder]:
    """Hold the lease of a search; calls of this thread to the database are retried without end.

    Args:
        on_stop: Called from another thread, once, when the search must stop.

    Raises:
        BusyStudy: Another process runs the search.
    """
    before = study.attributes.get(LEASE)
    refuse_if_held_elsewhere(study)
    holder = LeaseHolder(study, on_stop)
    if not holder.take(before):
        # The process that started this one may have written its pid into the announced lease.
        current = study.attributes.get(LEASE)
        is_announced = current is not None and current["run"] == os.environ.get(RUN)
        if not (is_announced and holder.take(current)):
            raise just_started(study)
    try:
        with retrying():
            yield holder
    except BaseException as error:
        is_stopped = isinstance(error, KeyboardInterrupt)
        holder.end("stopped" if is_stopped else "failed", str(error) or type(error).__name__)
        last = lease_of({LEASE: before})
        is_refused = isinstance(error, UserError) and not holder.has_begun
        # Of a run in the background, the lease is where the reason is found.
        if is_refused and last is not None and last.ended and RUN not in os.environ:
            holder.end(last.state, last.ended)
        # Without retrying: the search has failed, perhaps because the database is unavailable.
        with suppress(StudyUnavailable):
            holder.release()
        raise
    with retrying():
        holder.release()
