"""A study at one moment, with what several answers need computed once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any

from search.pareto import (
    Scale,
    frontier,
    hypervolume_of,
    in_finish_order,
    nondominated,
)
from search.results.prediction import Predictor
from search.storage.database import SEARCH, study_names
from search.storage.errors import NoSuchStudy
from search.storage.lease import POLL_SECONDS, LeaseMonitor
from search.storage.states import State
from search.storage.study import Study, tests_of
from search.storage.trials import TrialRecord
from spaces.cost.inference_cost import COSTS

FRESH_SECONDS = 0.2
"""Age up to which a snapshot is not read again: many questions in a moment are one reading."""


class Snapshot:
    """A study's trials, read at one moment.

    Args:
        study: The record.
        records: Its trials.
        attributes: Its user attributes.
        watch: Tells whether its driver lives.
    """

    def __init__(
        self,
        study: Study,
        records: list[TrialRecord],
        attributes: dict[str, Any],
        watch: LeaseMonitor,
    ) -> None:
        self.study = study
        self.search = study.search
        self.records = records
        self.attributes = attributes
        self._watch = watch
        self._lock = Lock()

    @cached_property
    def by_number(self) -> dict[int, TrialRecord]:
        """Trials by number."""
        return {record.number: record for record in self.records}

    @property
    def state(self) -> State:
        """Whether the search runs, and how its last run ended; nobody is lost until it is sure."""
        state = self._watch.state(self.attributes) or "running"
        if state != "new" or not self.records:
            return state
        # Of a version that did not note how a run ended.
        finished = sum(record.is_finished for record in self.records)
        return "finished" if finished >= self.search.trials else "stopped"

    @property
    def is_state_sure(self) -> bool:
        """Whether the state takes no longer look at the search's driver."""
        return self._watch.state(self.attributes) is not None

    @cached_property
    def in_order(self) -> list[TrialRecord]:
        """Finished trials in the order in which they finished."""
        return in_finish_order(self.records)

    @cached_property
    def members(self) -> list[TrialRecord]:
        """The frontier, the cheapest first."""
        return frontier(self.records, self.search.criteria)

    @cached_property
    def member_numbers(self) -> set[int]:
        """Numbers of the trials on the frontier."""
        return {record.number for record in self.members}

    @cached_property
    def tests(self) -> dict[int, dict[str, Any]]:
        """What the test split gave, by trial number."""
        return tests_of(self.attributes)

    @cached_property
    def scale(self) -> Scale:
        """The box of the hypervolume."""
        return Scale.of(self.study.space)

    @cached_property
    def hypervolume(self) -> float:
        """Share of the box that the frontier dominates."""
        return hypervolume_of(self.members, self.search.criteria, self.scale)

    @cached_property
    def undominated(self) -> list[TrialRecord]:
        """Feasible trials that no other beats on the score and all three costs: whatever the
        limits, the best within them is one of these."""
        return nondominated(self.records, self.search.criteria, list(COSTS))

    @property
    def predictor(self) -> Predictor:
        """What predicts from these trials, made when first asked for.

        Raises:
            PredictionError: No trial is complete.
        """
        with self._lock:
            return self._predictor

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self.study, self.records)


@dataclass
class _Kept:
    """The last snapshot of a search."""

    study: Study
    lock: Lock = field(default_factory=Lock)
    watch: LeaseMonitor = field(default_factory=LeaseMonitor)
    snapshot: Snapshot | None = None
    read: float = 0.0


class SnapshotCache:
    """Snapshots of the searches of a storage; a new one is made when something has changed.

    Args:
        url: SQLAlchemy URL of the studies.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._kept: dict[str, _Kept] = {}
        self._lock = Lock()

    def names(self) -> list[str]:
        """Names of the searches."""
        return study_names(self.url)

    def of(self, name: str) -> Snapshot:
        """The state of a search, at most ``FRESH_SECONDS`` old.

        Raises:
            NoSuchStudy: There is no such search, or the database is away.
        """
        kept = self._kept_of(name)
        with kept.lock:
            if kept.snapshot is None or time.monotonic() - kept.read > FRESH_SECONDS:
                self._read(name, kept)
            assert kept.snapshot is not None
            return kept.snapshot

    def settled(self, names: Iterable[str]) -> list[Snapshot]:
        """Searches whose states are sure, which takes seconds where a driver may be dead.

        Raises:
            NoSuchStudy: There is no such search, or the database is away.
        """
        chosen = list(names)
        while True:
            snapshots = [self.of(name) for name in chosen]
            if all(snapshot.is_state_sure for snapshot in snapshots):
                return snapshots
            time.sleep(POLL_SECONDS)

    def _kept_of(self, name: str) -> _Kept:
        with self._lock:
            kept = self._kept.get(name)
        if kept is None:
            opened = _Kept(Study.load(name, self.url))
            with self._lock:
                # Another may have been first meanwhile.
                kept = self._kept.setdefault(name, opened)
        return kept

    def _read(self, name: str, kept: _Kept) -> None:
        started = time.monotonic()
        try:
            attributes = kept.study.attributes
        except KeyError:
            with self._lock:
                self._kept.pop(name, None)
            raise NoSuchStudy(f"no search named {name!r}: it was deleted") from None
        last = kept.snapshot
        if last is not None and attributes[SEARCH] != last.attributes[SEARCH]:
            kept.study = Study.load(name, self.url)
        records = kept.study.records()
        if last is None or records != last.records or attributes != last.attributes:
            kept.snapshot = Snapshot(kept.study, records, attributes, kept.watch)
        kept.read = started
