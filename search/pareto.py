"""The frontier of a search: non-dominated trials, hypervolume, the best at a cost. Pure functions.

Dominance and hypervolume are moocore's (López-Ibáñez et al.); what is ours is the scale on which
an area means something.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import moocore
import numpy as np
import numpy.typing as npt

from search.storage.trials import TrialRecord
from spaces.cost.criteria import Criteria
from spaces.cost.inference_cost import COSTS, Cost
from spaces.cost.metric import Metric

if TYPE_CHECKING:
    from spaces.grid.search_space import SearchSpace

COST_LEVELS = 5
LATENCY_DECADES = 2


@dataclass(frozen=True, slots=True)
class Scale:
    """The box in which the hypervolume is a share: from 0 (nothing) to 1 (perfect and free).

    A score counts from guessing to perfection, as its metric makes a share of it; cost counts on a
    logarithmic axis, because halving a model is worth the same at every size.

    Args:
        cost: The inference cost.
        metric: What models are scored by; guessing is the reference point.
        lowest: Cost of the cheapest model of the space.
        highest: Cost of the most expensive model that is allowed: the reference point's cost.
    """

    cost: Cost
    metric: Metric
    lowest: float
    highest: float

    @classmethod
    def of(cls, space: SearchSpace) -> Scale:
        """The scale of a search space, from arithmetic and the constraints alone."""
        criteria = space.criteria
        limit = criteria.limit
        if criteria.cost.name == "latency_ms":
            assert limit is not None
            lowest, highest = limit / 10**LATENCY_DECADES, limit
        else:
            cheapest, largest = space.extreme_costs()
            lowest = float(getattr(cheapest, criteria.cost.name))
            highest = limit or float(getattr(largest, criteria.cost.name))
        # A space of one size still needs a box with an area.
        return cls(criteria.cost, criteria.metric, lowest, max(highest, 1.01 * lowest))

    def levels(self) -> tuple[float, ...]:
        """Fixed costs at which scores are reported: spread evenly on the logarithmic axis."""
        ratio = self.highest / self.lowest
        return tuple(
            float(f"{self.lowest * ratio ** ((k + 1) / COST_LEVELS):.2g}")
            for k in range(COST_LEVELS)
        )

    def fractions(self, score: float, cost: float) -> tuple[float, float]:
        """Score and saving, each as a share of the box, both to be maximised."""
        saved = math.log(self.highest / cost) / math.log(self.highest / self.lowest)
        return self.metric.normalised(score), saved


def quality(record: TrialRecord, criteria: Criteria) -> float:
    """How good a complete trial is: the share that the metric makes of its score."""
    return criteria.metric.quality(record.result["score"])


def feasible(records: Iterable[TrialRecord], criteria: Criteria) -> list[TrialRecord]:
    """Complete trials that meet every constraint, with finite values."""
    return [
        record
        for record in records
        if record.is_complete
        and math.isfinite(record.result["score"])
        and 0.0 < record.result[criteria.cost.name] < math.inf
        and all(excess <= 0.0 for excess in criteria.violations(record.result).values())
    ]


def frontier(records: Iterable[TrialRecord], criteria: Criteria) -> list[TrialRecord]:
    """Feasible trials that no other beats on both score and cost, the cheapest first."""
    members = nondominated(records, criteria, [criteria.cost.name])
    return sorted(members, key=lambda record: float(record.result[criteria.cost.name]))


def nondominated(
    records: Iterable[TrialRecord], criteria: Criteria, costs: Sequence[str]
) -> list[TrialRecord]:
    """Feasible trials that no other beats on the score and some costs; of equals, the one that
    ``best`` names."""
    candidates = feasible(records, criteria)
    if not candidates:
        return []
    points = [(-quality(r, criteria), *(r.result[cost] for cost in costs)) for r in candidates]
    kept = moocore.is_nondominated(np.asarray(points), keep_weakly=True)
    members: dict[tuple[float, ...], TrialRecord] = {}
    for record, point, keep in zip(candidates, points, kept, strict=True):
        if keep:
            members[point] = max(
                members.get(point, record), record, key=lambda each: _rank(each, criteria)
            )
    return list(members.values())


def hypervolume(points: Sequence[tuple[float, float]], scale: Scale) -> float:
    """Share of the scale's box that ``(score, cost)`` points dominate, 0 to 1."""
    shares = _inside(points, scale)
    if len(shares) == 0:
        return 0.0
    return float(moocore.hypervolume(shares, ref=[0.0, 0.0], maximise=True))


def hypervolume_of(records: Iterable[TrialRecord], criteria: Criteria, scale: Scale) -> float:
    """Hypervolume of the feasible ones among some trials."""
    points = [
        (r.result["score"], r.result[criteria.cost.name]) for r in feasible(records, criteria)
    ]
    return hypervolume(points, scale)


def in_finish_order(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Finished trials in the order in which they finished."""
    finished = (record for record in records if record.is_finished)
    return sorted(finished, key=lambda record: (record.order, record.number))


def hypervolume_history(
    records: Iterable[TrialRecord], criteria: Criteria, scale: Scale
) -> list[float]:
    """Hypervolume after each finished trial, in the order in which they finished."""
    finished = in_finish_order(records)
    front: list[tuple[float, float]] = []
    history: list[float] = []
    for record in finished:
        if feasible([record], criteria):
            point = (quality(record, criteria), record.result[criteria.cost.name])
            if not any(q >= point[0] and c <= point[1] for q, c in front):
                front = [(q, c) for q, c in front if q > point[0] or c < point[1]] + [point]
                scores = [(criteria.metric.value_at(q), c) for q, c in front]
                history.append(hypervolume(scores, scale))
                continue
        history.append(history[-1] if history else 0.0)
    return history


def best(
    records: Iterable[TrialRecord], criteria: Criteria, limits: dict[str, float]
) -> TrialRecord | None:
    """The best feasible trial within limits; the cheaper one of two equals, in every cost.

    Args:
        records: Trials.
        criteria: What they are compared by.
        limits: Highest value by cost: ``size_mb``, ``latency_ms``, ``flops``.
    """
    within = [
        record
        for record in feasible(records, criteria)
        if all(record.result[cost] <= limit for cost, limit in limits.items())
    ]
    return max(within, key=lambda record: _rank(record, criteria), default=None)


def nearest(
    records: Iterable[TrialRecord], criteria: Criteria, limits: dict[str, float]
) -> TrialRecord | None:
    """The complete trial that misses limits by the smallest factor, where none meets them."""
    return min(
        (record for record in records if record.is_complete),
        key=lambda record: (
            max(record.result[cost] / limit for cost, limit in limits.items()),
            -quality(record, criteria),
        ),
        default=None,
    )


def _inside(points: Sequence[tuple[float, float]], scale: Scale) -> npt.NDArray[np.float64]:
    shares = [scale.fractions(score, cost) for score, cost in points]
    return np.asarray([s for s in shares if s[0] > 0.0 and s[1] > 0.0], dtype=np.float64)


def _rank(record: TrialRecord, criteria: Criteria) -> tuple[float, ...]:
    """Ascending from worse to better trials; no two are equal."""
    costs = (criteria.cost.name, *COSTS)
    return quality(record, criteria), *(-record.result[cost] for cost in costs), -record.number
