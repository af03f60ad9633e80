"""A study at one moment, with values that several queries share, and a cache of such snapshots."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

from objectives.store.store import Store
from search.formatting import has_noisy_latency
from search.hypervolume import Scale, hypervolume_of
from search.pareto import best, frontier, in_finish_order, nondominated
from search.results.comparison import compared_frontier, frontier_members
from search.results.schemas import Frontier, Level, Prediction, Summary, Trial
from search.seeds import Repeats, SeedScores
from search.storage.database import SEARCH, study_names
from search.storage.errors import NoSuchStudy
from search.storage.lease import POLL_SECONDS, LeaseMonitor
from search.storage.references import ReferenceRecord, references_of
from search.storage.states import State
from search.storage.study import Study, tests_of
from search.storage.trials import TrialRecord
from spaces.file.storage import Locations

if TYPE_CHECKING:
    from search.results.prediction import Predictor

FRESH_SECONDS = 0.2
"""Age up to which a snapshot is returned without reading: concurrent queries share one reading."""


@dataclass(eq=False)
class Snapshot:
    """The trials of a study and its user attributes, read at one moment."""

    study: Study
    records: list[TrialRecord]
    repeats: list[TrialRecord]
    """Repeats of its trials with further seeds."""
    attributes: dict[str, Any]
    monitor: LeaseMonitor
    """Observes the lease of the search."""
    _lock: Lock = field(default_factory=Lock)

    @property
    def state(self) -> State:
        """Whether the search runs, and how its last run ended; ``running`` until it is known."""
        return self.monitor.state(self.attributes) or "running"

    @property
    def is_state_known(self) -> bool:
        """Whether the state needs no longer observation of the lease."""
        return self.monitor.state(self.attributes) is not None

    @cached_property
    def in_order(self) -> list[TrialRecord]:
        """Finished trials in the order in which they finished."""
        return in_finish_order(self.records)

    @cached_property
    def failures(self) -> list[TrialRecord]:
        """Trials that ended without a result."""
        return failed(self.records)

    @cached_property
    def members(self) -> list[TrialRecord]:
        """The frontier, the cheapest first."""
        return frontier(self.records, self.study.search.criteria)

    @cached_property
    def member_numbers(self) -> set[int]:
        """Numbers of the trials on the frontier."""
        return {record.number for record in self.members}

    @cached_property
    def tests(self) -> dict[int, dict[str, Any]]:
        """Results on the test split, by trial number."""
        return tests_of(self.attributes)

    @cached_property
    def references(self) -> list[ReferenceRecord]:
        """Baselines beside the trials."""
        return references_of(self.attributes)

    @cached_property
    def _repeats(self) -> Repeats:
        return Repeats(self.repeats)

    def seeds(self, record: TrialRecord) -> SeedScores | None:
        """Scores of a trial over several seeds of training."""
        return SeedScores.of(record, self._repeats, self.tests, self.study.search.metric)

    @cached_property
    def scale(self) -> Scale:
        """The box of the hypervolume."""
        return Scale.of(self.study.space)

    @cached_property
    def hypervolume(self) -> float:
        """Fraction of the box that the frontier dominates."""
        return hypervolume_of(self.members, self.study.search.criteria, self.scale)

    @cached_property
    def _nondominated(self) -> list[TrialRecord]:
        """Trials that no other dominates in the score and all costs, for ``best``."""
        return nondominated(
            self.records, self.study.search.criteria, self.study.search.criteria.costs
        )

    def best(self, limits: Mapping[str, float]) -> TrialRecord | None:
        """The best feasible trial within limits by cost."""
        return best(self._nondominated, self.study.search.criteria, limits)

    def predict(self, values: Mapping[str, Any]) -> Prediction:
        """The predicted score of a configuration, as ``Predictor.predict``."""
        # The first prediction fits the surrogate, and a service predicts in several threads.
        with self._lock:
            return self._predictor.predict(values)

    @cached_property
    def _predictor(self) -> Predictor:
        # Few queries need it, and it loads the Gaussian process.
        from search.results.prediction import Predictor

        return Predictor(self.study, self.records)

    def location(self, record: TrialRecord) -> str:
        """Where the compressed model of a complete trial is."""
        url = Locations.of(self.study.search.storage).store_url
        return Store(url).location(record.result["model"])

    def summary(self) -> Summary:
        """The search in one line."""
        search, leader = self.study.search, self.best({})
        return Summary(
            name=search.name,
            state=self.state,
            trials=search.trials,
            complete=sum(r.is_complete for r in self.records),
            running=sum(not r.is_finished for r in (*self.records, *self.repeats)),
            failed=len(self.failures),
            objectives=list(search.objectives),
            metric=search.metric.name,
            frontier=[record.number for record in self.members],
            hypervolume=self.hypervolume,
            best_score=None if leader is None else leader.result["score"],
            repeats=sum(r.is_complete for r in self.repeats),
        )

    def trial(self, record: TrialRecord) -> Trial:
        """A trial as a query result."""
        return Trial(
            trial=record.number,
            state=record.state,
            text=str(record.configuration),
            configuration=record.configuration.to_dict(),
            result=record.result,
            latency_noisy=has_noisy_latency(record.result),
            test=self.tests.get(record.number, {}),
            on_frontier=record.number in self.member_numbers,
            repeats=record.repeats,
            seeds=self.seeds(record),
            started=record.started,
            finished=record.finished,
            message=record.message,
            budget_unit=self.study.search.space.budget.unit,
        )

    def frontier(self) -> Frontier:
        """The frontier as a query result."""
        metric = self.study.search.metric
        members = frontier_members(self.members, self._repeats, self.tests, metric)
        return compared_frontier(self.study.space, self.records, members, self.references)

    def level(self, limit: float) -> Level:
        """The best trial whose inference cost is at most ``limit``."""
        criteria = self.study.search.criteria
        leader = self.best({criteria.cost.name: limit})
        result = {} if leader is None else leader.result
        return Level(
            cost=criteria.cost.name,
            limit=limit,
            trial=None if leader is None else leader.number,
            text="" if leader is None else str(leader.configuration),
            metric=criteria.metric.name,
            score=result.get("score"),
            score_low=result.get("score_low"),
            score_high=result.get("score_high"),
        )


def failed(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Trials that ended without a result."""
    return [r for r in records if r.is_finished and not r.is_complete]


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
        self._url = url
        self._entries: dict[str, _Entry] = {}
        self._lock = Lock()

    def names(self) -> list[str]:
        """Names of the searches."""
        return study_names(self._url)

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
            opened = _Entry(Study.load(name, self._url))
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
            entry.study = Study.load(name, self._url)
        records, repeats = entry.study.records_and_repeats()
        entry.read = started
        now = (records, repeats, attributes)
        if last is not None and now == (last.records, last.repeats, last.attributes):
            return last
        return Snapshot(entry.study, records, repeats, attributes, entry.monitor)
