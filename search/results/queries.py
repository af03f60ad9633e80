"""Every query over the studies of a storage, for the command line and the service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any, Literal

from search.pareto import nearest, rank
from search.results.comparison import compared_best
from search.results.schemas import (
    Best,
    Event,
    Failure,
    Frontier,
    Level,
    Prediction,
    Search,
    Summary,
    TrialDetails,
    TrialPage,
)
from search.results.snapshot import Snapshot, SnapshotCache, failed
from search.results.submitted import (
    Waiting,
    submitted_event,
    submitted_search,
    submitted_summary,
)
from search.results.training_reuse import TrainingReuse
from search.storage.errors import NoSuchStudy, StudyError
from search.storage.lease import lease_of
from search.storage.states import ACTIVE, SearchState
from search.storage.study import DATA
from search.storage.trials import TrialRecord, gpu_hours
from spaces.cost.criteria import Criteria

Order = Literal[
    "number", "-number", "score", "-score",
    "size_mb", "latency_ms", "flops", "first_token_ms", "token_ms", "example_ms", "memory_mb",
]  # fmt: skip
LONGEST_PAGE = 1000

NumberedEvent = tuple[int | None, Event]
"""An event; for a finished trial, with the number of finished trials up to it."""


class StudyQueries:
    """Queries over the searches of a storage.

    Methods that take the name of a search raise ``NoSuchStudy`` if there is none of this name.

    Args:
        url: SQLAlchemy URL of the studies.
    """

    def __init__(self, url: str) -> None:
        self._snapshots = SnapshotCache(url)
        self._waiting = Waiting(url)

    def names(self) -> list[str]:
        """Names of all searches.

        Raises:
            StudyUnavailable: The database cannot be reached.
        """
        return self._snapshots.names()

    def searches(self) -> list[Summary]:
        """All searches, by name."""
        snapshots = self._snapshots.with_known_states(self._snapshots.names())
        found = {each.study.name: each.summary() for each in snapshots}
        attributes = {each.study.name: each.attributes for each in snapshots}
        for name, submission in self._waiting.all(attributes).items():
            known = found.get(name)
            found[name] = (
                submitted_summary(submission)
                if known is None
                else known.model_copy(update={"state": submission.state})
            )
        return [found[name] for name in sorted(found)]

    def search(self, name: str) -> Search:
        """One search."""
        try:
            (snapshot,) = self._snapshots.with_known_states([name])
        except NoSuchStudy:
            if (submission := self._waiting.of(name, {})) is None:
                raise
            return submitted_search(submission)
        lease, submission = (
            lease_of(snapshot.attributes),
            self._waiting.of(name, snapshot.attributes),
        )
        ended = "" if lease is None else lease.ended
        summary = snapshot.summary().model_dump()
        if submission is not None:
            summary["state"], ended = submission.state, submission.reason
        return Search(
            **summary,
            search=snapshot.study.search.to_public_dict(),
            data=snapshot.attributes.get(DATA, {}),
            ended=ended,
            shared=TrainingReuse.of((*snapshot.records, *snapshot.repeats)),
            gpu_hours=gpu_hours((*snapshot.records, *snapshot.repeats)),
            failures=[
                Failure(trial=r.number, state=r.state, message=r.message)
                for r in (*snapshot.failures, *failed(snapshot.repeats))
            ],
        )

    def trials(
        self,
        name: str,
        *,
        state: str | None = None,
        on_frontier: bool = False,
        repeats: bool = False,
        limits: Mapping[str, float] | None = None,
        order: Order = "number",
        offset: int = 0,
        limit: int = 100,
    ) -> TrialPage:
        """A page of the trials of a search.

        Args:
            state: ``running``, ``complete``, ``failed`` for all failures, or the name of one.
            on_frontier: Whether to return only trials on the frontier.
            repeats: Whether to return the repeats with further seeds of training in place of the
                trials of the search.
            limits: Highest value by cost; with limits, only complete trials are returned.
            order: Sort key, ``score`` from the best; ``-`` reverses.
            offset: Matching trials to skip.
            limit: Trials of the page, at most ``LONGEST_PAGE``.
        """
        snapshot = self._snapshots.of(name)
        _check_measured(snapshot, limits or {})
        chosen = [
            record
            for record in (snapshot.repeats if repeats else snapshot.records)
            if _has_state(record, state)
            and (not on_frontier or record.number in snapshot.member_numbers)
            and _is_within(record, limits or {})
        ]
        ordered = _ordered(chosen, order, snapshot.study.search.criteria)
        page = ordered[offset : offset + min(limit, LONGEST_PAGE)]
        return TrialPage(total=len(chosen), offset=offset, trials=[snapshot.trial(r) for r in page])

    def trial(self, name: str, number: int) -> TrialDetails:
        """One trial with its training curve.

        Raises:
            NoSuchStudy: There is no such search or trial.
        """
        snapshot = self._snapshots.of(name)
        every = (*snapshot.records, *snapshot.repeats)
        record = next((r for r in every if r.number == number), None)
        if record is None:
            raise NoSuchStudy(f"search {name!r} has no trial {number}")
        trial = snapshot.trial(record)
        curve = snapshot.study.curve(number)
        return TrialDetails(**trial.model_dump(), curve=curve, traceback=record.traceback)

    def frontier(self, name: str) -> Frontier:
        """The frontier of a search, and what it is compared with."""
        return self._snapshots.of(name).frontier()

    def best(self, name: str, limits: Mapping[str, float] | None = None) -> Best:
        """The best model of a search within limits by cost (``size_mb``, …), or the nearest."""
        snapshot = self._snapshots.of(name)
        criteria = snapshot.study.search.criteria
        given = dict(limits or {})
        _check_measured(snapshot, given)
        every_limit = {
            cost: min(each[cost] for each in (criteria.limits, given) if cost in each)
            for cost in sorted({*criteria.limits, *given})
        }
        within = snapshot.best(given)
        found = within or nearest(snapshot.records, criteria, every_limit)
        if found is None:
            return Best(
                limits=given, is_within=False, misses={}, trial=None, location="",
                cost=criteria.cost.name,
            )  # fmt: skip
        result = found.result
        answer = Best(
            limits=given,
            is_within=within is not None,
            misses={c: result[c] / most for c, most in every_limit.items() if result[c] > most},
            trial=snapshot.trial(found),
            location=snapshot.location(found),
            cost=criteria.cost.name,
        )
        return compared_best(
            answer, snapshot.study.space, snapshot.records, found, snapshot.references
        )

    def levels(self, name: str) -> list[Level]:
        """The best score at each fixed cost, the cheapest first."""
        snapshot = self._snapshots.of(name)
        return [snapshot.level(limit) for limit in snapshot.scale.levels()]

    def what_if(self, name: str, values: Mapping[str, Any]) -> Prediction:
        """The predicted score of a configuration, with its 95 % interval.

        Args:
            values: A value for each dimension of the space that has several.

        Raises:
            PredictionError: There is no such configuration, or no complete trial yet.
        """
        return self._snapshots.of(name).predict(values)

    def follow(self, name: str, passed: int = 0) -> Iterator[list[NumberedEvent]]:
        """New events of a search, at each iteration; ends with the search.

        Args:
            passed: Finished trials to skip.
        """
        state: SearchState | None = None
        running: set[int] = set()
        while True:
            try:
                snapshot = self._snapshots.of(name)
            except NoSuchStudy:
                if (submission := self._waiting.of(name, {})) is None:
                    raise
                yield [] if submission.state == state else [(None, submitted_event(submission))]
                state = submission.state
                if state not in ACTIVE:
                    return
                continue
            submission = self._waiting.of(name, snapshot.attributes)
            now = snapshot.state if submission is None else submission.state
            news: list[NumberedEvent] = []
            for record in snapshot.records:
                if not record.is_finished and record.number not in running:
                    running.add(record.number)
                    news.append((None, _event(snapshot, record)))
            finished = snapshot.in_order
            for count, record in enumerate(finished[passed:], start=passed + 1):
                news.append((count, _event(snapshot, record)))
            passed = max(passed, len(finished))
            if now != state:
                state = now
                event = _event(snapshot) if submission is None else submitted_event(submission)
                # The end of a search comes after its last trials.
                news.insert(0 if now in ACTIVE else len(news), (None, event))
            yield news
            if now not in ACTIVE:
                return


def _check_measured(snapshot: Snapshot, limits: Mapping[str, float]) -> None:
    """Refuse limits of costs that the trials of a search have not.

    Raises:
        StudyError: With the first of them.
    """
    search = snapshot.study.search
    for cost in limits:
        if cost not in search.criteria.costs:
            raise StudyError(
                f"max_{cost}: search {search.name!r} did not measure {cost}; it has "
                f"{', '.join(search.criteria.costs)}"
            )


def _has_state(record: TrialRecord, state: str | None) -> bool:
    if state == "failed":
        return record.is_finished and not record.is_complete
    return state is None or record.state == state


def _is_within(record: TrialRecord, limits: Mapping[str, float]) -> bool:
    return all(
        record.is_complete and record.result[cost] <= limit for cost, limit in limits.items()
    )


def _ordered(records: list[TrialRecord], order: Order, criteria: Criteria) -> list[TrialRecord]:
    """Records, sorted by number, in another order; without a result, they come last."""
    field, is_reversed = order.removeprefix("-"), order.startswith("-")
    if field == "number":
        return records[::-1] if is_reversed else records
    complete = [record for record in records if record.is_complete]
    if field == "score":
        complete.sort(key=lambda r: rank(r, criteria), reverse=not is_reversed)
    else:
        complete.sort(key=lambda r: float(r.result.get(field, inf)), reverse=is_reversed)
    return complete + [record for record in records if not record.is_complete]


def _event(snapshot: Snapshot, record: TrialRecord | None = None) -> Event:
    """The start or the end of a trial; without a trial, the state of the search."""
    return Event(
        kind="state" if record is None else "trial",
        search=snapshot.study.search.name,
        state=snapshot.state if record is None else record.state,
        trial=None if record is None else record.number,
        text="" if record is None else str(record.configuration),
        score=None if record is None else record.result.get("score"),
        complete=sum(each.is_complete for each in snapshot.records),
        hypervolume=snapshot.hypervolume,
    )
