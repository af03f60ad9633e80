"""Answers from the study, as plain values: the same for the command line, JSON and a service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from objectives.store import Store
from search.frontier import best, nearest
from search.records import Record
from search.study import Study
from spaces.places import places


@dataclass(frozen=True)
class Answer:
    """The best model within limits, or the nearest to them.

    Args:
        limits: Highest value by cost.
        record: The trial; None when the search has no complete one.
        is_within: Whether it meets the limits.
        misses: By which factor it exceeds each limit that it breaks.
        test: What the test split gave, empty where it was not read.
        location: Where the compressed model is.
    """

    limits: dict[str, float]
    record: Record | None
    is_within: bool
    misses: dict[str, float]
    test: dict[str, Any]
    location: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write."""
        found = None if self.record is None else _plain(self.record, self.test)
        return {
            "limits": self.limits,
            "is_within": self.is_within,
            "misses": self.misses,
            "trial": found,
            "location": self.location,
        }


def best_within(study: Study, limits: dict[str, float]) -> Answer:
    """The best feasible trial within limits; failing that, the nearest that exists.

    Args:
        study: The record.
        limits: Highest value by cost: ``size_mb``, ``latency_ms``, ``flops``.
    """
    records = study.records()
    found = best(records, study.search, limits)
    all_limits = tightest(study.search.constraints.limits, limits)
    is_within = found is not None
    if found is None:
        found = nearest(records, study.search, all_limits)
    if found is None:
        return Answer(limits, None, False, {}, {}, "")
    return Answer(
        limits=limits,
        record=found,
        is_within=is_within,
        misses=misses(found, all_limits),
        test=study.tests().get(found.number, {}),
        location=location(study, found),
    )


def location(study: Study, record: Record) -> str:
    """Where the compressed model of a complete trial is."""
    where = places(study.search.storage)
    return Store(where.store_url).location(record.result["model"])


def shared(records: list[Record]) -> dict[str, float]:
    """What sharing training saved: steps and seconds, in all and of that from the store."""
    results = [record.result for record in records if record.is_complete]
    return {
        "steps_total": sum(r["steps"]["total"] for r in results),
        "steps_reused": sum(r["steps"]["reused"] for r in results),
        "seconds_trained": sum(r["seconds"]["train"] for r in results),
        "seconds_saved": sum(r["seconds"]["saved"] for r in results),
    }


def _plain(record: Record, test: dict[str, Any]) -> dict[str, Any]:
    return {
        "trial": record.number,
        "state": record.state,
        "configuration": record.configuration.to_dict(),
        "result": record.result,
        "test": test,
    }


def misses(record: Record, limits: dict[str, float]) -> dict[str, float]:
    """By which factor a trial exceeds each limit that it breaks."""
    return {
        cost: record.result[cost] / limit
        for cost, limit in limits.items()
        if record.result[cost] > limit
    }


def tightest(*several: dict[str, float]) -> dict[str, float]:
    """The lowest of several limits of each cost."""
    costs = {cost for limits in several for cost in limits}
    return {
        cost: min(limits[cost] for limits in several if cost in limits) for cost in sorted(costs)
    }
