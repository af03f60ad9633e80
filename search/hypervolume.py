"""The hypervolume of a search: the box in which it is measured, and its course over the trials.

moocore (López-Ibáñez et al.) computes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import moocore
import numpy as np

from search.pareto import feasible, in_finish_order, losses
from search.storage.trials import TrialRecord
from spaces.cost.criteria import Criteria
from spaces.cost.inference_cost import Cost
from spaces.cost.metric import Metric

if TYPE_CHECKING:
    from spaces.grid.search_space import SearchSpace

COST_LEVELS = 5
MEASURED_DECADES = 2
"""Of the axis of a cost that arithmetic does not know, up to its limit."""


@dataclass(frozen=True, slots=True)
class CostRange:
    """A cost axis of the hypervolume's box. It is logarithmic: halving the cost counts the same at
    every size.

    Args:
        lowest: Cost of the cheapest model of the space.
        highest: Highest allowed cost, or that of the most expensive model: the reference point.
    """

    cost: Cost
    lowest: float
    highest: float

    @classmethod
    def of(cls, space: SearchSpace, cost: Cost) -> CostRange:
        """The range of a search space, from its analytic costs and its constraints."""
        limit = space.criteria.limits.get(cost.name)
        if cost.is_measured:
            assert limit is not None
            lowest, highest = limit / 10**MEASURED_DECADES, limit
        else:
            cheapest, most_expensive = space.extreme_costs()
            lowest = float(getattr(cheapest, cost.name))
            highest = limit or float(getattr(most_expensive, cost.name))
        # If all models have one size, the box still needs an area.
        return cls(cost, lowest, max(highest, 1.01 * lowest))

    def saved(self, value: float) -> float:
        """Saved cost as a fraction of the axis; what is cheaper than its start saves all of it."""
        saved = math.log(self.highest / value) / math.log(self.highest / self.lowest)
        return min(saved, 1.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """The box of the hypervolume, normalised to 0 (nothing) to 1 (perfect at no cost).

    It has an axis for each score, from guessing to perfection, and one for each cost.

    Args:
        metric: Guessing is the reference point.
        lowest: Start of the first cost axis, as of ``CostRange``.
        highest: Its end.
        further_metrics: Further scores.
        further_costs: Further cost axes.
    """

    cost: Cost
    metric: Metric
    lowest: float
    highest: float
    further_metrics: tuple[Metric, ...] = ()
    further_costs: tuple[CostRange, ...] = ()

    @classmethod
    def of(cls, space: SearchSpace) -> Scale:
        """The scale of a search space, from its analytic costs and its constraints."""
        criteria = space.criteria
        first, *further = (CostRange.of(space, cost) for cost in criteria.axes)
        return cls(
            first.cost,
            criteria.metric,
            first.lowest,
            first.highest,
            further_metrics=criteria.further_metrics,
            further_costs=tuple(further),
        )

    @property
    def cost_ranges(self) -> tuple[CostRange, ...]:
        """The cost axes."""
        return CostRange(self.cost, self.lowest, self.highest), *self.further_costs

    def levels(self) -> tuple[float, ...]:
        """The fixed costs at which scores are reported, evenly spaced on the logarithmic axis."""
        ratio = self.highest / self.lowest
        return tuple(
            float(f"{self.lowest * ratio ** ((k + 1) / COST_LEVELS):.2g}")
            for k in range(COST_LEVELS)
        )

    def fractions(self, point: Sequence[float]) -> tuple[float, ...]:
        """Scores and saved costs as fractions of the box; more is better for all.

        Args:
            point: The scores, then the costs.
        """
        metrics = (self.metric, *self.further_metrics)
        scores, values = point[: len(metrics)], point[len(metrics) :]
        return (
            *(each.normalised(score) for each, score in zip(metrics, scores, strict=True)),
            *(each.saved(value) for each, value in zip(self.cost_ranges, values, strict=True)),
        )


def hypervolume(points: Sequence[Sequence[float]], scale: Scale) -> float:
    """Fraction of the scale's box that some points dominate.

    Args:
        points: The scores and then the costs of each, such as ``(accuracy, size_mb)``.
    """
    inside = [each for each in map(scale.fractions, points) if min(each) > 0.0]
    if not inside:
        return 0.0
    reference = [0.0] * len(inside[0])
    return float(
        moocore.hypervolume(np.asarray(inside, dtype=np.float64), ref=reference, maximise=True)
    )


def hypervolume_of(records: Iterable[TrialRecord], criteria: Criteria, scale: Scale) -> float:
    """Hypervolume of the feasible trials."""
    return hypervolume([_point(r, criteria) for r in feasible(records, criteria)], scale)


def _point(record: TrialRecord[Any], criteria: Criteria) -> tuple[float, ...]:
    return *criteria.scores(record.result), *criteria.costs_of(record.result)


def hypervolume_history(
    records: Iterable[TrialRecord], criteria: Criteria, scale: Scale
) -> list[float]:
    """Hypervolume after each finished trial, in the order in which they finished."""
    growth = Growth(criteria, scale)
    return [growth.add(record) for record in in_finish_order(records)]


class Growth:
    """The hypervolume, trial by trial."""

    def __init__(self, criteria: Criteria, scale: Scale) -> None:
        self._criteria, self._scale = criteria, scale
        self._front: dict[tuple[float, ...], tuple[float, ...]] = {}
        """The point of each member, by its losses."""
        self._volume = 0.0

    def add(self, record: TrialRecord) -> float:
        """The hypervolume after a further finished trial."""
        if feasible([record], self._criteria):
            point = losses(record, self._criteria)
            if not any(_is_covered(point, member) for member in self._front):
                kept = {m: value for m, value in self._front.items() if not _is_covered(m, point)}
                self._front = {**kept, point: _point(record, self._criteria)}
                self._volume = hypervolume(list(self._front.values()), self._scale)
        return self._volume


def _is_covered(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether no loss of one is less than that of another."""
    return all(mine >= theirs for mine, theirs in zip(one, other, strict=True))
