"""Queries over the study of a search with a function, for Python and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import Field

from search.pareto import best, in_finish_order, leaders, nearest
from search.results.query_result import QueryResult
from search.storage.errors import NoSuchStudy
from search.storage.function_study import FunctionStudy, load_functions
from search.storage.lease import confirmed_state, lease_of
from search.storage.states import State
from search.storage.trials import TrialRecord, gpu_hours
from spaces.errors import UserError
from spaces.functions.points import Values, value_text

Record = TrialRecord[Values]


class FunctionSummary(QueryResult):
    """A search with a function in a line."""

    name: str
    state: State
    trials: int
    """Trials after which it ends."""
    complete: int
    running: int
    failed: int
    objectives: dict[str, str]
    """Each metric with ``maximize`` or ``minimize``."""
    best_score: float | None
    """The best within the constraints."""
    frontier: list[int]
    """Numbers of the trials that no other beats, the cheapest first."""
    ended: str = ""
    """Why its last run ended; empty while it runs."""
    gpu_hours: float = 0.0
    """GPU-hours of its finished trials, failed ones too."""

    @property
    def metric(self) -> str:
        """Name of the score."""
        return next(iter(self.objectives))


class FunctionTrial(QueryResult):
    """One trial of a search with a function."""

    trial: int
    """Its number."""
    state: str
    """``running``, ``complete``, or the name of its failure: ``error`` where the function raised,
    ``invalid_result``, ``not_finite``, ``oom``, ``worker_died``, ``node_lost``, ``hung``."""
    params: dict[str, Any]
    """The value of each dimension."""
    metrics: dict[str, float]
    """What the function returned, and costs that were known before; empty unless complete."""
    seconds: float | None
    """Seconds that the function took."""
    stages: dict[str, float | None]
    """Seconds of each stage; null where it was stored before."""
    seed: int
    folder: str
    """Its folder; empty unless complete."""
    on_frontier: bool
    """Whether no other trial beats it."""
    started: datetime | None
    finished: datetime | None
    message: str
    """Why it failed."""
    traceback: str = ""
    """Where the function raised."""

    @property
    def text(self) -> str:
        """Its values as text."""
        return ", ".join(f"{name} {value_text(value)}" for name, value in self.params.items())

    def __repr__(self) -> str:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"<#{self.trial} {self.text}: {metrics or self.state}>"


class FunctionBest(QueryResult):
    """The best trial within limits, or the nearest to them."""

    limits: dict[str, float]
    """Highest value by metric."""
    is_within: bool
    """Whether the trial meets the limits."""
    misses: dict[str, float]
    """Factor by which it exceeds each limit that it breaks."""
    trial: FunctionTrial | None
    """Null when no trial is complete."""

    def __repr__(self) -> str:
        return "<no complete trial>" if self.trial is None else repr(self.trial)


class FunctionPrediction(QueryResult):
    """What is expected of a point, tried or not."""

    params: dict[str, Any]
    metric: str
    score: float
    """The expected score, with its 95 % interval."""
    score_low: float
    score_high: float
    costs: dict[str, float] = Field(default={})
    """Metrics that are limited or weighed against the score: known, measured or predicted."""
    seconds: float
    """Seconds that a trial of it would take now, with every stage that is not stored."""
    trials: int
    """Complete trials that the prediction is made of."""
    trial: int | None
    """The trial that evaluated it; null if none did."""


def function_summaries(url: str) -> list[FunctionSummary]:
    """Every search of a storage whose objective is a function, by name."""
    return [FunctionQueries(study).summary() for study in load_functions(url)]


class FunctionQueries:
    """Queries over one search with a function; each reads the study anew.

    Args:
        study: The search.
    """

    def __init__(self, study: FunctionStudy) -> None:
        self._study = study
        self._criteria = study.criteria

    def summary(self) -> FunctionSummary:
        """The search in a line."""
        records, search = self._study.records(), self._study.search
        leader = best(records, self._criteria, {})
        lease = lease_of(self._study.attributes)
        finished = sum(each.is_finished for each in records)
        complete = sum(each.is_complete for each in records)
        return FunctionSummary(
            name=search.name,
            state=confirmed_state(self._study),
            trials=search.trials,
            complete=complete,
            running=len(records) - finished,
            failed=finished - complete,
            objectives=dict(search.objectives),
            best_score=None if leader is None else leader.result["score"],
            frontier=[each.number for each in leaders(records, self._criteria)],
            ended="" if lease is None else lease.ended,
            gpu_hours=gpu_hours(records),
        )

    def trials(self) -> list[FunctionTrial]:
        """All trials, by number."""
        records = self._study.records()
        members = {each.number for each in leaders(records, self._criteria)}
        return [_trial(each, each.number in members) for each in records]

    def trial(self, number: int) -> FunctionTrial:
        """One trial.

        Raises:
            NoSuchStudy: There is none of this number.
        """
        for trial in self.trials():
            if trial.trial == number:
                return trial
        raise NoSuchStudy(f"search {self._study.name!r} has no trial {number}")

    def frontier(self) -> list[FunctionTrial]:
        """The trials that no other beats, the cheapest first; with one objective, the best."""
        records = self._study.records()
        return [_trial(each, on_frontier=True) for each in leaders(records, self._criteria)]

    def best(self, limits: Mapping[str, float]) -> FunctionBest:
        """The best trial within limits by metric, or the nearest.

        Raises:
            UserError: A limit is of a metric that complete trials lack.
        """
        records, criteria = self._study.records(), self._criteria
        records = [_with_metrics(each) for each in records]
        for name in limits:
            lacking = [e for e in records if e.is_complete and not e.result.get(name, 0.0) > 0.0]
            if lacking:
                known = ", ".join(lacking[0].result["metrics"])
                raise UserError(
                    f"max_{name}: trial {lacking[0].number} has no {name} above 0; it has {known}"
                )
        within = best(records, criteria, limits)
        every = {**criteria.limits, **limits}
        every = {name: min(limit, every[name]) for name, limit in {**every, **limits}.items()}
        found = within or nearest(records, criteria, every)
        if found is None:
            return FunctionBest(limits=dict(limits), is_within=False, misses={}, trial=None)
        members = leaders(records, criteria)
        return FunctionBest(
            limits=dict(limits),
            is_within=within is not None,
            misses={
                name: found.result[name] / limit
                for name, limit in every.items()
                if found.result[name] > limit
            },
            trial=_trial(found, any(each.number == found.number for each in members)),
        )

    def predict(self, params: Mapping[str, Any]) -> FunctionPrediction:
        """What is expected of a point.

        Args:
            params: A value of the space for each dimension that has several.

        Raises:
            PredictionError: A dimension is missing or unknown, or has no such value; or no trial is
                complete.
        """
        # Few queries need them, and they load the Gaussian process.
        from search.results.prediction import PredictionError, point_of
        from search.samplers.functions.design import Finished, FunctionDesign
        from search.samplers.functions.points import Points

        study, space = self._study, self._study.space
        records = study.records()
        complete = [each for each in records if each.is_complete]
        if not complete:
            raise PredictionError(f"search {study.name!r} has no complete trial yet")
        point = space.values(point_of(space, params))
        points = Points(space, [*(each.configuration.params for each in records), point], 0)
        index = points.index(point)
        assert index is not None
        finished = [
            Finished(each.configuration.params, each.result) for each in in_finish_order(records)
        ]
        design = FunctionDesign(points, finished, points.stages(), study.search.seed)
        worst, middle, top = (design.score(q) for q in design.designer.predict(index, 0))
        costs = {name: design.cost(name, index) for name in study.search.costs}
        same = [each.number for each in complete if each.configuration.params == point]
        return FunctionPrediction(
            params=point,
            metric=self._criteria.metric.name,
            score=middle,
            score_low=min(worst, top),
            score_high=max(worst, top),
            costs={name: cost for name, cost in costs.items() if cost is not None},
            seconds=design.designer.seconds(index, 0),
            trials=len(complete),
            trial=same[0] if same else None,
        )


def _trial(record: Record, on_frontier: bool) -> FunctionTrial:
    result = record.result
    return FunctionTrial(
        trial=record.number,
        state=record.state,
        params=record.configuration.params,
        metrics=result.get("metrics", {}),
        seconds=result.get("seconds"),
        stages=result.get("stages", {}),
        seed=record.configuration.seed,
        folder=result.get("folder", ""),
        on_frontier=on_frontier,
        started=record.started,
        finished=record.finished,
        message=record.message,
        traceback=record.traceback,
    )


def _with_metrics(record: Record) -> Record:
    """The same with all of its metrics beside those that the search needs."""
    return replace(record, result={**record.result.get("metrics", {}), **record.result})
