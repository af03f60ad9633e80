"""Every question that tlc answers, from the study alone: what the command line, the service and
the client share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from objectives.store.store import Store
from search.formatting import has_noisy_latency
from search.pareto import best, nearest, quality
from search.results.events import NumberedEvent, follow
from search.results.schemas import (
    Best,
    Failure,
    FrontierMember,
    Level,
    Prediction,
    Search,
    Summary,
    TrainingReuse,
    Trial,
    TrialDetails,
    TrialPage,
)
from search.results.snapshot import Snapshot, SnapshotCache
from search.results.training_reuse import training_reuse
from search.storage.errors import NoSuchStudy
from search.storage.lease import lease_of
from search.storage.study import DATA, Study
from search.storage.trials import TrialRecord
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations

Order = Literal["number", "-number", "score", "-score", "size_mb", "latency_ms", "flops"]
LONGEST_PAGE = 1000


class StudyQueries:
    """Queries about the searches of a storage.

    Args:
        url: SQLAlchemy URL of the studies.
    """

    def __init__(self, url: str) -> None:
        self._snapshots = SnapshotCache(url)

    def names(self) -> list[str]:
        """Names of all searches.

        Raises:
            StudyUnavailable: The database cannot be reached.
        """
        return self._snapshots.names()

    def searches(self) -> list[Summary]:
        """All searches, by name."""
        return [_summary(snapshot) for snapshot in self._snapshots.settled(self._snapshots.names())]

    def search(self, name: str) -> Search:
        """One search.

        Raises:
            NoSuchStudy: There is none of this name.
        """
        (snapshot,) = self._snapshots.settled([name])
        last = lease_of(snapshot.attributes)
        return Search(
            **_summary(snapshot).model_dump(),
            search=snapshot.search.to_public_dict(),
            data=snapshot.attributes.get(DATA, {}),
            ended="" if last is None else last.ended,
            shared=TrainingReuse.model_validate(training_reuse(snapshot.records)),
            failures=[
                Failure(trial=r.number, state=r.state, message=r.message)
                for r in snapshot.records
                if r.is_finished and not r.is_complete
            ],
        )

    def trials(
        self,
        name: str,
        *,
        state: str | None = None,
        on_frontier: bool = False,
        limits: Mapping[str, float] | None = None,
        order: Order = "number",
        offset: int = 0,
        limit: int = 100,
    ) -> TrialPage:
        """A page of the trials of a search.

        Args:
            name: Name of the search.
            state: ``running``, ``complete``, ``failed`` for all failures, or the name of one.
            on_frontier: Whether to leave out what is not on the frontier.
            limits: Highest value by cost; trials without a result are left out where it is given.
            order: What to sort by, ``score`` the best first; ``-`` reverses.
            offset: Matching trials to pass over.
            limit: Trials of the page, at most ``LONGEST_PAGE``.

        Raises:
            NoSuchStudy: There is no search of this name.
        """
        snapshot = self._snapshots.of(name)
        chosen = [
            record
            for record in snapshot.records
            if _has_state(record, state)
            and (not on_frontier or record.number in snapshot.member_numbers)
            and _is_within(record, limits or {})
        ]
        chosen.sort(key=_key(order, snapshot.search))
        page = chosen[offset : offset + min(limit, LONGEST_PAGE)]
        return TrialPage(
            total=len(chosen), offset=offset, trials=[_trial(snapshot, r) for r in page]
        )

    def trial(self, name: str, number: int) -> TrialDetails:
        """One trial with its training curve.

        Raises:
            NoSuchStudy: There is no such search or trial.
        """
        snapshot = self._snapshots.of(name)
        record = snapshot.by_number.get(number)
        if record is None:
            raise NoSuchStudy(f"search {name!r} has no trial {number}")
        return TrialDetails(
            **_trial(snapshot, record).model_dump(),
            curve=snapshot.study.curve(number),
        )

    def frontier(self, name: str) -> list[FrontierMember]:
        """The frontier of a search, the cheapest first.

        Raises:
            NoSuchStudy: There is no search of this name.
        """
        snapshot = self._snapshots.of(name)
        return [FrontierMember.of(r, snapshot.tests.get(r.number, {})) for r in snapshot.members]

    def best(self, name: str, limits: Mapping[str, float] | None = None) -> Best:
        """The best model of a search within limits; failing that, the nearest that exists.

        Args:
            name: Name of the search.
            limits: Highest value by cost: ``size_mb``, ``latency_ms``, ``flops``.

        Raises:
            NoSuchStudy: There is no search of this name.
        """
        snapshot = self._snapshots.of(name)
        given = dict(limits or {})
        search = snapshot.search
        found = best(snapshot.undominated, search.criteria, given)
        is_within = found is not None
        every_limit = _tightest(search.constraints.limits, given)
        if found is None:
            found = nearest(snapshot.records, search.criteria, every_limit)
        return Best(
            limits=given,
            is_within=is_within,
            misses={} if found is None else _misses(found, every_limit),
            trial=None if found is None else _trial(snapshot, found),
            location="" if found is None else _location(snapshot.study, found),
            cost=search.cost.name,
        )

    def levels(self, name: str) -> list[Level]:
        """The best score at each fixed cost, the cheapest first.

        Raises:
            NoSuchStudy: There is no search of this name.
        """
        snapshot = self._snapshots.of(name)
        return [_level(snapshot, level) for level in snapshot.scale.levels()]

    def what_if(self, name: str, values: Mapping[str, Any]) -> Prediction:
        """The expected score of a configuration, with its 95 % interval.

        Args:
            name: Name of the search.
            values: A value of the search's space for each dimension that has several.

        Raises:
            NoSuchStudy: There is no search of this name.
            PredictionError: It has no such configuration, or no complete trial yet.
        """
        return self._snapshots.of(name).predictor.predict(values)

    def follow(self, name: str, passed: int = 0) -> Iterator[list[NumberedEvent]]:
        """What is new in a search, each time that the next is asked for; ends when the search does.

        Args:
            name: Name of the search.
            passed: Finished trials to pass over.
        """
        return follow(lambda: self._snapshots.of(name), passed)


def _summary(snapshot: Snapshot) -> Summary:
    records, search = snapshot.records, snapshot.search
    leader = best(snapshot.undominated, search.criteria, {})
    return Summary(
        name=search.name,
        state=snapshot.state,
        trials=search.trials,
        complete=sum(r.is_complete for r in records),
        running=sum(not r.is_finished for r in records),
        failed=sum(r.is_finished and not r.is_complete for r in records),
        objectives=list(search.objectives),
        metric=search.metric.name,
        frontier=[record.number for record in snapshot.members],
        hypervolume=snapshot.hypervolume,
        best_score=None if leader is None else leader.result["score"],
    )


def _trial(snapshot: Snapshot, record: TrialRecord) -> Trial:
    return Trial(
        trial=record.number,
        state=record.state,
        text=str(record.configuration),
        configuration=record.configuration.to_dict(),
        result=record.result,
        latency_noisy=has_noisy_latency(record.result),
        test=snapshot.tests.get(record.number, {}),
        on_frontier=record.number in snapshot.member_numbers,
        started=record.started,
        finished=record.finished,
        message=record.message,
        budget_unit=snapshot.search.space.budget.unit.value,
    )


def _level(snapshot: Snapshot, level: float) -> Level:
    search = snapshot.search
    found = best(snapshot.undominated, search.criteria, {search.cost.name: level})
    result = {} if found is None else found.result
    return Level(
        cost=search.cost.name,
        limit=level,
        trial=None if found is None else found.number,
        text="" if found is None else str(found.configuration),
        metric=search.metric.name,
        score=result.get("score"),
        score_low=result.get("score_low"),
        score_high=result.get("score_high"),
    )


def _has_state(record: TrialRecord, state: str | None) -> bool:
    if state == "failed":
        return record.is_finished and not record.is_complete
    return state is None or record.state == state


def _is_within(record: TrialRecord, limits: Mapping[str, float]) -> bool:
    return all(
        record.is_complete and record.result[cost] <= limit for cost, limit in limits.items()
    )


def _key(order: Order, search: SearchFile) -> Callable[[TrialRecord], tuple[float, int]]:
    field = order.removeprefix("-")
    sign = -1 if order.startswith("-") else 1

    def key(record: TrialRecord) -> tuple[float, int]:
        if field == "number":
            return sign * record.number, 0
        if not record.is_complete:
            # Trials without a result come last, whatever the order.
            return math.inf, record.number
        value = -quality(record, search.criteria) if field == "score" else record.result[field]
        return sign * value, record.number

    return key


def _location(study: Study, record: TrialRecord) -> str:
    """Where the compressed model of a complete trial is."""
    where = Locations.of(study.search.storage)
    return Store(where.store_url).location(record.result["model"])


def _misses(record: TrialRecord, limits: dict[str, float]) -> dict[str, float]:
    """By which factor a trial exceeds each limit that it breaks."""
    return {
        cost: record.result[cost] / limit
        for cost, limit in limits.items()
        if record.result[cost] > limit
    }


def _tightest(*several: dict[str, float]) -> dict[str, float]:
    """The lowest of several limits of each cost."""
    costs = {cost for limits in several for cost in limits}
    return {
        cost: min(limits[cost] for limits in several if cost in limits) for cost in sorted(costs)
    }
