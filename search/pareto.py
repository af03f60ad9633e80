"""Dominance, hypervolume and ranking of trials, as pure functions.

moocore (López-Ibáñez et al.) computes dominance and hypervolume. ``Scale`` defines the box in which
a hypervolume is measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import moocore
import numpy as np

from search.storage.references import ReferenceRecord
from search.storage.trials import TrialRecord
from spaces.cost.criteria import Criteria
from spaces.cost.inference_cost import Cost
from spaces.cost.metric import Metric

if TYPE_CHECKING:
    from spaces.grid.search_space import SearchSpace

C = TypeVar("C")

COST_LEVELS = 5
LATENCY_DECADES = 2


@dataclass(frozen=True, slots=True)
class Scale:
    """The box of the hypervolume, normalised to 0 (nothing) to 1 (perfect at no cost).

    The score axis runs from guessing to perfection. The cost axis is logarithmic: halving the cost
    counts the same at every size.

    Args:
        metric: Guessing is the reference point.
        lowest: Cost of the cheapest model of the space.
        highest: Highest allowed cost, or that of the most expensive model: the reference point.
    """

    cost: Cost
    metric: Metric
    lowest: float
    highest: float

    @classmethod
    def of(cls, space: SearchSpace) -> Scale:
        """The scale of a search space, from its analytic costs and its constraints."""
        criteria = space.criteria
        limit = criteria.limit
        if criteria.cost.name == "latency_ms":
            assert limit is not None
            lowest, highest = limit / 10**LATENCY_DECADES, limit
        else:
            cheapest, most_expensive = space.extreme_costs()
            lowest = float(getattr(cheapest, criteria.cost.name))
            highest = limit or float(getattr(most_expensive, criteria.cost.name))
        # If all models have one size, the box still needs an area.
        return cls(criteria.cost, criteria.metric, lowest, max(highest, 1.01 * lowest))

    def levels(self) -> tuple[float, ...]:
        """The fixed costs at which scores are reported, evenly spaced on the logarithmic axis."""
        ratio = self.highest / self.lowest
        return tuple(
            float(f"{self.lowest * ratio ** ((k + 1) / COST_LEVELS):.2g}")
            for k in range(COST_LEVELS)
        )

    def fractions(self, score: float, cost: float) -> tuple[float, float]:
        """Score and saved cost as fractions of the box; more is better for both."""
        saved = math.log(self.highest / cost) / math.log(self.highest / self.lowest)
        return self.metric.normalised(score), saved


def quality(record: TrialRecord[Any], criteria: Criteria) -> float:
    """Quality of a complete trial's score: more is better for every metric."""
    return criteria.metric.quality(record.result["score"])


def rank(record: TrialRecord[Any], criteria: Criteria) -> tuple[float, ...]:
    """Sort key of complete trials, ascending from worse to better; no two are equal.

    The quality comes first, then the search's inference cost, the other costs and the number.
    """
    costs = (criteria.cost.name, *criteria.costs)
    return quality(record, criteria), *(-record.result[cost] for cost in costs), -record.number


def feasible(records: Iterable[TrialRecord[C]], criteria: Criteria) -> list[TrialRecord[C]]:
    """Complete trials that meet every constraint, with finite values."""
    return [
        record
        for record in records
        if record.is_complete
        and math.isfinite(record.result["score"])
        and 0.0 < record.result[criteria.cost.name] < math.inf
        and all(excess <= 0.0 for excess in criteria.violations(record.result).values())
    ]


def frontier(records: Iterable[TrialRecord[C]], criteria: Criteria) -> list[TrialRecord[C]]:
    """Feasible trials that no other dominates in score and cost, the cheapest first."""
    members = nondominated(records, criteria, [criteria.cost.name])
    return sorted(members, key=lambda record: float(record.result[criteria.cost.name]))


def nondominated(
    records: Iterable[TrialRecord[C]], criteria: Criteria, costs: Sequence[str]
) -> list[TrialRecord[C]]:
    """Feasible trials that no other dominates in the score and some costs.

    Of trials with equal values, the one with the highest ``rank`` is kept.
    """
    candidates = feasible(records, criteria)
    if not candidates:
        return []
    points = [(-quality(r, criteria), *(r.result[cost] for cost in costs)) for r in candidates]
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

    Of trials that share this model, the first.
    """
    return max(
        (r for r in records if r.is_complete and r.result["dense_size_bytes"] <= 1e6 * max_mb),
        key=lambda r: (criteria.metric.quality(r.result["dense_score"]), -r.number),
        default=None,
    )


def hypervolume(points: Sequence[tuple[float, float]], scale: Scale) -> float:
    """Fraction of the scale's box that ``(score, cost)`` points dominate."""
    fractions = [scale.fractions(score, cost) for score, cost in points]
    inside = [(score, saved) for score, saved in fractions if score > 0.0 and saved > 0.0]
    if not inside:
        return 0.0
    return float(
        moocore.hypervolume(np.asarray(inside, dtype=np.float64), ref=[0.0, 0.0], maximise=True)
    )


def hypervolume_of(records: Iterable[TrialRecord], criteria: Criteria, scale: Scale) -> float:
    """Hypervolume of the feasible trials."""
    cost = criteria.cost.name
    points = [(r.result["score"], r.result[cost]) for r in feasible(records, criteria)]
    return hypervolume(points, scale)


def in_finish_order(records: Iterable[TrialRecord[C]]) -> list[TrialRecord[C]]:
    """Finished trials in the order in which they finished."""
    finished = (record for record in records if record.is_finished)
    return sorted(finished, key=lambda record: (record.order, record.number))


def hypervolume_history(
    records: Iterable[TrialRecord], criteria: Criteria, scale: Scale
) -> list[float]:
    """Hypervolume after each finished trial, in the order in which they finished."""
    front: list[tuple[float, float]] = []
    history: list[float] = []
    for record in in_finish_order(records):
        volume = history[-1] if history else 0.0
        if feasible([record], criteria):
            point = (quality(record, criteria), record.result[criteria.cost.name])
            if not any(q >= point[0] and c <= point[1] for q, c in front):
                front = [(q, c) for q, c in front if q > point[0] or c < point[1]] + [point]
                volume = hypervolume([(criteria.metric.value_at(q), c) for q, c in front], scale)
        history.append(volume)
    return history


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
