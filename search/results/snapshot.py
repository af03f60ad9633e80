"""A study at one moment, with what several queries need computed once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

from objectives.store.store import Store
from search.formatting import has_noisy_latency
from search.pareto import Scale, best, frontier, hypervolume_of, in_finish_order, nondominated
from search.results.schemas import FrontierMember, Level, Summary, Trial
from search.storage.lease import LeaseMonitor
from search.storage.states import State
from search.storage.study import Study, tests_of
from search.storage.trials import TrialRecord
from spaces.cost.inference_cost import COSTS
from spaces.file.storage import Locations

if TYPE_CHECKING:
    from search.results.prediction import Predictor


class Snapshot:
    """The trials of a study, read at one moment.

    Args:
        study: The record.
        records: Its trials.
        attributes: Its user attributes.
        monitor: Observes the lease of the search.
    """

    def __init__(
        self,
        study: Study,
        records: list[TrialRecord],
        attributes: dict[str, Any],
        monitor: LeaseMonitor,
    ) -> None:
        self.study = study
        self.search = study.search
        self.records = records
        self.attributes = attributes
        self._monitor = monitor
        self._lock = Lock()

    @property
    def state(self) -> State:
        """Whether the search runs, and how its last run ended; ``running`` until it is known."""
        return self._monitor.state(self.attributes) or "running"

    @property
    def is_state_known(self) -> bool:
        """Whether the state needs no longer observation of the lease."""
        return self._monitor.state(self.attributes) is not None

    @cached_property
    def in_order(self) -> list[TrialRecord]:
        """Finished trials in the order in which they finished."""
        return in_finish_order(self.records)

    @cached_property
    def failures(self) -> list[TrialRecord]:
        """Trials that ended without a result."""
        return [r for r in self.records if r.is_finished and not r.is_complete]

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
        """Results on the test split, by trial number."""
        return tests_of(self.attributes)

    @cached_property
    def scale(self) -> Scale:
        """The box of the hypervolume."""
        return Scale.of(self.study.space)

    @cached_property
    def hypervolume(self) -> float:
        """Fraction of the box that the frontier dominates."""
        return hypervolume_of(self.members, self.search.criteria, self.scale)

    @cached_property
    def _nondominated(self) -> list[TrialRecord]:
        """Trials that no other dominates in the score and all costs, for ``best``."""
        return nondominated(self.records, self.search.criteria, list(COSTS))

    def best(self, limits: Mapping[str, float]) -> TrialRecord | None:
        """The best feasible trial within limits by cost."""
        return best(self._nondominated, self.search.criteria, limits)

    @property
    def predictor(self) -> Predictor:
        """The predictor over these trials, fitted at the first use.

        Raises:
            PredictionError: No trial is complete.
        """
        with self._lock:
            return self._predictor

    @cached_property
    def _predictor(self) -> Predictor:
        # Few queries need it, and it loads the Gaussian process.
        from search.results.prediction import Predictor

        return Predictor(self.study, self.records)

    def location(self, record: TrialRecord) -> str:
        """Where the compressed model of a complete trial is."""
        url = Locations.of(self.search.storage).store_url
        return Store(url).location(record.result["model"])

    def summary(self) -> Summary:
        """The search in one line."""
        search, leader = self.search, self.best({})
        return Summary(
            name=search.name,
            state=self.state,
            trials=search.trials,
            complete=sum(r.is_complete for r in self.records),
            running=sum(not r.is_finished for r in self.records),
            failed=len(self.failures),
            objectives=list(search.objectives),
            metric=search.metric.name,
            frontier=[record.number for record in self.members],
            hypervolume=self.hypervolume,
            best_score=None if leader is None else leader.result["score"],
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
            started=record.started,
            finished=record.finished,
            message=record.message,
            budget_unit=self.search.space.budget.unit,
        )

    def frontier(self) -> list[FrontierMember]:
        """The frontier as query results, the cheapest first."""
        return [FrontierMember.of(r, self.tests.get(r.number, {})) for r in self.members]

    def level(self, limit: float) -> Level:
        """The best trial whose inference cost is at most ``limit``."""
        criteria = self.search.criteria
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
