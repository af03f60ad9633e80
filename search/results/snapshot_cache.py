"""The latest snapshot of each search of a storage, read again when it is old."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock

from search.results.snapshot import Snapshot
from search.storage.database import SEARCH, study_names
from search.storage.errors import NoSuchStudy
from search.storage.lease import POLL_SECONDS, LeaseMonitor
from search.storage.study import Study

FRESH_SECONDS = 0.2
"""Age up to which a snapshot is returned without reading: concurrent queries share one reading."""


@dataclass
class _Entry:
    """The latest snapshot of a search; the lock lets one thread read at a time."""

    study: Study
    lock: Lock = field(default_factory=Lock)
    monitor: LeaseMonitor = field(default_factory=LeaseMonitor)
    snapshot: Snapshot | None = None
    read: float = 0.0


class SnapshotCache:
    """Snapshots of the searches of a storage; unchanged trials keep their snapshot.

    Args:
        url: SQLAlchemy URL of the studies.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._entries: dict[str, _Entry] = {}
        self._lock = Lock()

    def names(self) -> list[str]:
        """Names of the searches."""
        return study_names(self.url)

    def of(self, name: str) -> Snapshot:
        """A snapshot of a search, at most ``FRESH_SECONDS`` old.

        Raises:
            NoSuchStudy: There is no search of this name.
        """
        entry = self._entry(name)
        with entry.lock:
            if entry.snapshot is None or time.monotonic() - entry.read > FRESH_SECONDS:
                entry.snapshot = self._read(name, entry)
            return entry.snapshot

    def with_known_states(self, names: Iterable[str]) -> list[Snapshot]:
        """Snapshots whose states are known, which takes seconds if a lease holder may be dead.

        Raises:
            NoSuchStudy: There is no search of one of the names.
        """
        chosen = list(names)
        while True:
            snapshots = [self.of(name) for name in chosen]
            if all(snapshot.is_state_known for snapshot in snapshots):
                return snapshots
            time.sleep(POLL_SECONDS)

    def _entry(self, name: str) -> _Entry:
        with self._lock:
            entry = self._entries.get(name)
        if entry is None:
            opened = _Entry(Study.load(name, self.url))
            with self._lock:
                # Another thread may have opened it in the meantime.
                entry = self._entries.setdefault(name, opened)
        return entry

    def _read(self, name: str, entry: _Entry) -> Snapshot:
        started = time.monotonic()
        try:
            attributes = entry.study.attributes
        except KeyError:
            with self._lock:
                self._entries.pop(name, None)
            raise NoSuchStudy(f"no search named {name!r}: it was deleted") from None
        last = entry.snapshot
        if last is not None and attributes[SEARCH] != last.attributes[SEARCH]:
            entry.study = Study.load(name, self.url)
        records = entry.study.records()
        entry.read = started
        if last is not None and (records, attributes) == (last.records, last.attributes):
            return last
        return Snapshot(entry.study, records, attributes, entry.monitor)
