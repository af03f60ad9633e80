"""Dominance and ranking of trials, as pure functions.

moocore (López-Ibáñez et al.) computes dominance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import moocore
import numpy as np

from search.storage.references import ReferenceRecord
from search.storage.trials import TrialRecord
from spaces.cost.criteria import Criteria
from spaces.cost.metric import Metric

C = TypeVar("C")


def quality(record: TrialRecord[Any], criteria: Criteria) -> float:
    """Quality of a complete trial's score: more is better for every metric."""
    return criteria.metric.quality(record.result["score"])


def rank(record: TrialRecord[Any], criteria: Criteria) -> tuple[float, ...]:
    """Sort key of complete trials, ascending from worse to better; no two are equal.

    The quality comes first, then the inference costs that the search weighs, then what was cheaper
    to train. A measured latency that is not weighed would break every tie by its noise, and comes
    after. A function has no training FLOPs.
    """
    result = record.result
    axes = [cost.name for cost in criteria.axes]
    others = [name for name in criteria.costs if name not in axes]
    training = -result.get("training_flops", 0)
    costs = [*(-result[name] for name in axes), training, *(-result[name] for name in others)]
    return quality(record, criteria), *costs, -record.number


def feasible(records: Iterable[TrialRecord[C]], criteria: Criteria) -> list[TrialRecord[C]]:
    """Complete trials that meet every constraint, with finite values."""
    return [
        record
        for record in records
        if record.is_complete
        and all(map(math.isfinite, criteria.scores(record.result)))
        and all(0.0 < cost < math.inf for cost in criteria.costs_of(record.result))
        and all(excess <= 0.0 for excess in criteria.violations(record.result).values())
    ]


def frontier(records: Iterable[TrialRecord[C]], criteria: Criteria) -> list[TrialRecord[C]]:
    """Feasible trials that no other dominates in all scores and costs, the cheapest first."""
    members = nondominated(records, criteria, [cost.name for cost in criteria.axes])
    return sorted(members, key=lambda record: losses(record, criteria))


def leaders(records: Iterable[TrialRecord[C]], criteria: Criteria) -> list[TrialRecord[C]]:
    """The frontier; the best trial alone where there is one objective, and where no cost is an
    objective, the trials that no other dominates in the scores."""
    if criteria.has_one_objective:
        found = best(records, criteria, {})
        return [] if found is None else [found]
    if not criteria.is_at_fixed_cost:
        return frontier(records, criteria)
    members = nondominated(records, criteria, [])
    return sorted(members, key=lambda record: rank(record, criteria), reverse=True)


def losses(record: TrialRecord[Any], criteria: Criteria) -> tuple[float, ...]:
    """The costs of a complete trial, and its negative qualities: less is better for all."""
    qualities = criteria.qualities(record.result)
    return *criteria.costs_of(record.result), *(-each for each in qualities)


def nondominated(
    records: Iterable[TrialRecord[C]], criteria: Criteria, costs: Sequence[str]
) -> list[TrialRecord[C]]:
    """Feasible trials that no other dominates in the scores and some costs.

    Of trials with equal values, the one with the highest ``rank`` is kept.
    """
    candidates = feasible(records, criteria)
    if not candidates:
        return []
    points = [
        (*(-q for q in criteria.qualities(r.result)), *(r.result[cost] for cost in costs))
        for r in candidates
    ]
    kept = moocore.is_nondominated(np.asarray(points), keep_weakly=True)
    members: dict[tuple[float, ...], TrialRecord[C]] = {}
    for record, point, keep in zip(candidates, points, kept, strict=True):
        if keep:
            equals = (members.get(point, record), record)
            members[point] = max(equals, key=lambda each: rank(each, criteria))
    return list(members.values())


def best_reference(
    references: Iterable[ReferenceRecord], metric: Metric, max_mb: float
) -> ReferenceRecord | None:
    """The best reference in at most so many megabytes; of equal ones, the smallest."""
    return max(
        (reference for reference in references if reference.size_mb <= max_mb),
        key=lambda r: (metric.quality(r.result["score"]), -r.size_bytes),
        default=None,
    )


def dominating_reference(
    references: Iterable[ReferenceRecord], criteria: Criteria, score: float | None, max_mb: float
) -> ReferenceRecord | None:
    """The best reference in at most so many megabytes, if its score is no worse than that of the
    best model there.

    Args:
        score: Of that model on validation; None where there is none.
    """
    quality = criteria.metric.quality
    found = best_reference(references, criteria.metric, max_mb)
    if found is None or (score is not None and quality(found.result["score"]) < quality(score)):
        return None
    return found


def dominated(
    records: Iterable[TrialRecord], references: Iterable[ReferenceRecord], criteria: Criteria
) -> dict[int, ReferenceRecord]:
    """Numbers of the complete trials for which a reference has no more bytes and no worse score,
    with the best such reference."""
    kept = list(references)
    found = {
        r.number: dominating_reference(kept, criteria, r.result["score"], r.result["size_mb"])
        for r in records
    }
    return {number: reference for number, reference in found.items() if reference is not None}


def best_dense(
    records: Iterable[TrialRecord], criteria: Criteria, max_mb: float
) -> TrialRecord | None:
    """The complete trial whose model before compression is the best in at most so many megabytes.

    Of equal scores that of fewest bytes, then what was cheaper to train; of trials that share the
    model, the first.
    """

    def rank_of(record: TrialRecord) -> tuple[float, ...]:
        result = record.result
        costs = result["dense_size_bytes"], result.get("dense_training_flops", 0), record.number
        return criteria.metric.quality(result["dense_score"]), *(-cost for cost in costs)

    return max(
        (r for r in records if r.is_complete and r.result["dense_size_bytes"] <= 1e6 * max_mb),
        key=rank_of,
        default=None,
    )


def in_finish_order(records: Iterable[TrialRecord[C]]) -> list[TrialRecord[C]]:
    """Finished trials in the order in which they finished."""
    finished = (record for record in records if record.is_finished)
    return sorted(finished, key=lambda record: (record.order, record.number))


def best(
    records: Iterable[TrialRecord[C]], criteria: Criteria, limits: Mapping[str, float]
) -> TrialRecord[C] | None:
    """The feasible trial of the highest rank within limits by cost (``size_mb``, …)."""
    within = [
        record
        for record in feasible(records, criteria)
        if all(record.result[cost] <= limit for cost, limit in limits.items())
    ]
    return max(within, key=lambda record: rank(record, criteria), default=None)


def nearest(
    records: Iterable[TrialRecord[C]], criteria: Criteria, limits: Mapping[str, float]
) -> TrialRecord[C] | None:
    """The complete trial that exceeds its worst limit by the smallest factor."""
    return max(
        (record for record in records if record.is_complete),
        key=lambda record: (
            -max(record.result[cost] / limit for cost, limit in limits.items()),
            *rank(record, criteria),
        ),
        default=None,
    )
