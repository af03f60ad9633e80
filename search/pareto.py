"""The frontier of a search: non-dominated trials, hypervolume, the best at a cost. Pure functions.

Dominance and hypervolume are moocore's (López-Ibáñez et al.); what is ours is the scale on which
an area means something.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

import moocore
import numpy as np
import numpy.typing as npt

from search.storage.trials import Record, violations
from spaces.cost.metric import Metric
from spaces.file.search_file import Cost, SearchFile
from spaces.grid.search_space import SearchSpace

COSTS: tuple[Cost, ...] = get_args(Cost)
COST_LEVELS = 5
LATENCY_DECADES = 2


@dataclass(frozen=True, slots=True)
class Scale:
    """The box in which the hypervolume is a share: from 0 (nothing) to 1 (perfect and free).

    A score counts from guessing to perfection, as its metric makes a share of it; cost counts on a
    logarithmic axis, because halving a model is worth the same at every size.

    Args:
        cost: Name of the inference cost.
        metric: What models are scored by; guessing is the reference point.
        lowest: Cost of the cheapest model of the space.
        highest: Cost of the dearest model that is allowed: the reference point's cost.
    """

    cost: str
    metric: Metric
    lowest: float
    highest: float

    @classmethod
    def of(cls, space: SearchSpace) -> Scale:
        """The scale of a search space, from arithmetic and the constraints alone."""
        search = space.search
        cheapest, dearest = space.extreme_costs()
        limits = search.constraints
        if search.cost == "latency_ms":
            assert limits.max_latency_ms is not None
            highest = limits.max_latency_ms
            lowest = highest / 10**LATENCY_DECADES
        elif search.cost == "size_mb":
            lowest, highest = cheapest.size_mb, limits.max_size_mb or dearest.size_mb
        else:
            lowest, highest = float(cheapest.flops), limits.max_flops or float(dearest.flops)
        # A space of one size still needs a box with an area.
        return cls(search.cost, search.metric, lowest, max(highest, 1.01 * lowest))

    def levels(self) -> tuple[float, ...]:
        """Fixed costs at which scores are reported: spread evenly on the logarithmic axis."""
        ratio = self.highest / self.lowest
        return tuple(
            float(f"{self.lowest * ratio ** ((k + 1) / COST_LEVELS):.2g}")
            for k in range(COST_LEVELS)
        )

    def share(self, score: float, cost: float) -> tuple[float, float]:
        """Score and saving, each as a share of the box, both to be maximised."""
        saved = math.log(self.highest / cost) / math.log(self.highest / self.lowest)
        return self.metric.gained(score), saved


def quality(record: Record, search: SearchFile) -> float:
    """How good a complete trial is: the share that the metric makes of its score."""
    return search.metric.share(record.result["score"])


def feasible(records: Iterable[Record], search: SearchFile) -> list[Record]:
    """Complete trials that meet every constraint, with finite values."""
    return [
        record
        for record in records
        if record.is_complete
        and math.isfinite(record.result["score"])
        and 0.0 < record.result[search.cost] < math.inf
        and all(excess <= 0.0 for excess in violations(search, record.result).values())
    ]


def frontier(records: Iterable[Record], search: SearchFile) -> list[Record]:
    """Feasible trials that no other beats on both score and cost, the cheapest first."""
    members = nondominated(records, search, [search.cost])
    return sorted(members, key=lambda record: float(record.result[search.cost]))


def nondominated(
    records: Iterable[Record], search: SearchFile, costs: Sequence[str]
) -> list[Record]:
    """Feasible trials that no other beats on the score and some costs; of equals, the one that
    ``best`` names."""
    candidates = feasible(records, search)
    if not candidates:
        return []
    points = [(-quality(r, search), *(r.result[cost] for cost in costs)) for r in candidates]
    kept = moocore.is_nondominated(np.asarray(points), keep_weakly=True)
    members: dict[tuple[float, ...], Record] = {}
    for record, point, keep in zip(candidates, points, kept, strict=True):
        if keep:
            members[point] = max(
                members.get(point, record), record, key=lambda each: _rank(each, search)
            )
    return list(members.values())


def hypervolume(points: Sequence[tuple[float, float]], scale: Scale) -> float:
    """Share of the scale's box that ``(score, cost)`` points dominate, 0 to 1."""
    shares = _inside(points, scale)
    if len(shares) == 0:
        return 0.0
    return float(moocore.hypervolume(shares, ref=[0.0, 0.0], maximise=True))


def hypervolume_of(records: Iterable[Record], search: SearchFile, scale: Scale) -> float:
    """Hypervolume of the feasible ones among some trials."""
    points = [(r.result["score"], r.result[search.cost]) for r in feasible(records, search)]
    return hypervolume(points, scale)


def in_finish_order(records: Iterable[Record]) -> list[Record]:
    """Finished trials in the order in which they finished."""
    return sorted((record for record in records if record.is_finished), key=_finish_order)


def hypervolume_history(records: Iterable[Record], search: SearchFile, scale: Scale) -> list[float]:
    """Hypervolume after each finished trial, in the order in which they finished."""
    finished = in_finish_order(records)
    front: list[tuple[float, float]] = []
    history: list[float] = []
    for record in finished:
        if feasible([record], search):
            point = (quality(record, search), record.result[search.cost])
            if not any(q >= point[0] and c <= point[1] for q, c in front):
                front = [(q, c) for q, c in front if q > point[0] or c < point[1]] + [point]
                scores = [(search.metric.value(q), c) for q, c in front]
                history.append(hypervolume(scores, scale))
                continue
        history.append(history[-1] if history else 0.0)
    return history


def best(records: Iterable[Record], search: SearchFile, limits: dict[str, float]) -> Record | None:
    """The best feasible trial within limits; the cheaper one of two equals, in every cost.

    Args:
        records: Trials.
        search: The search file.
        limits: Highest value by cost: ``size_mb``, ``latency_ms``, ``flops``.
    """
    within = [
        record
        for record in feasible(records, search)
        if all(record.result[cost] <= limit for cost, limit in limits.items())
    ]
    return max(within, key=lambda record: _rank(record, search), default=None)


def nearest(
    records: Iterable[Record], search: SearchFile, limits: dict[str, float]
) -> Record | None:
    """The complete trial that misses limits by the smallest factor, where none meets them."""
    return min(
        (record for record in records if record.is_complete),
        key=lambda record: (
            max(record.result[cost] / limit for cost, limit in limits.items()),
            -quality(record, search),
        ),
        default=None,
    )


def _inside(points: Sequence[tuple[float, float]], scale: Scale) -> npt.NDArray[np.float64]:
    shares = [scale.share(score, cost) for score, cost in points]
    return np.asarray([s for s in shares if s[0] > 0.0 and s[1] > 0.0], dtype=np.float64)


def _rank(record: Record, search: SearchFile) -> tuple[float, ...]:
    """Ascending from worse to better trials; no two are equal."""
    costs = (search.cost, *COSTS)
    return quality(record, search), *(-record.result[cost] for cost in costs), -record.number


def _finish_order(record: Record) -> tuple[int, float, int]:
    # Clocks of two drivers may differ; they are all that there is where no order was noted.
    finished = record.finished.timestamp() if record.finished else math.inf
    return record.order, finished, record.number
