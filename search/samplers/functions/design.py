"""The design space of a function: its points, their features, and what trials have shown.

The Gaussian process of the ``frontier`` sampler expects qualities between 0 and 1, and costs that
are known before a trial. Here both follow from the trials: scores are scaled to what was seen, and
costs that the user does not give are predicted by a regression. So a design is made again whenever
the Gaussian process is fitted again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from search.arrays import Floats, Integers
from search.samplers.frontier.design_space import DesignSpace, grid_neighbours
from search.samplers.frontier.designer import Designer
from search.samplers.frontier.features import is_in_doublings, setting_feature
from search.samplers.frontier.history import FailureCause, Trial
from search.samplers.frontier.prior import prior_of_settings
from search.samplers.functions.regression import CERTAIN, LogRegression
from search.samplers.functions.seconds import FunctionSeconds
from search.storage.optuna_space import point_from
from spaces.functions.points import MOST_DRAWN, FunctionSpace
from spaces.grid.grid import Dimension

WORST, BEST = 0.25, 0.75
"""Qualities of the worst and the best score so far: a better one has a place above."""
FAR = 3.0
"""Scores farther below the median than so many times the best is above count as being there: a
single broken trial would make all others look alike."""


@dataclass(frozen=True)
class Finished:
    """A finished trial.

    Args:
        parameters: Its values, as Optuna stores them.
        result: What the study holds of it; empty where it failed.
        cause: Of its failure.
    """

    parameters: dict[str, Any]
    result: dict[str, Any]
    cause: FailureCause = FailureCause.MODEL


class Points:
    """The points that a sampler compares: all of a space, or of a large one a part.

    Args:
        tried: Parameters of trials, whose points are part of it.
        seed: Of the random part.
    """

    def __init__(self, space: FunctionSpace, tried: Iterable[dict[str, Any]], seed: int) -> None:
        self.space = space
        self._sizes = [len(dimension.values) for dimension in space.dimensions]
        self._rows = self._chosen([self._row(each) for each in tried], seed)
        """The place of each point among all of the space, ascending."""
        indices = np.unravel_index(self._rows, self._sizes)
        numbers = [k for k, d in enumerate(space.dimensions) if d.is_numeric and len(d.values) > 1]
        self.settings = tuple(is_in_doublings(_column(space.dimensions[k])) for k in numbers)
        columns = [setting_feature(_column(space.dimensions[k]))[indices[k]] for k in numbers]
        for k, dimension in enumerate(space.dimensions):
            if k not in numbers and len(dimension.values) > 1:
                columns += [indices[k] == value for value in range(len(dimension.values))]
        self.features: Floats = (
            np.column_stack(columns).astype(np.float64)
            if columns
            else np.zeros((len(self._rows), 0))
        )
        self.regression = LogRegression(self.features, squared=len(numbers))

    def __len__(self) -> int:
        return len(self._rows)

    def index(self, parameters: dict[str, Any]) -> int | None:
        """The index of some parameters of Optuna; None where they are not among the points."""
        row = self._row(parameters)
        found = int(np.searchsorted(self._rows, row))
        return found if found < len(self._rows) and self._rows[found] == row else None

    def parameters(self, index: int) -> dict[str, Any]:
        """Optuna's parameters of a point."""
        return self.space.values(self._point(index))

    def stages(self) -> list[tuple[str, ...]]:
        """Keys of the stages of each point."""
        if not self.space.has_stages:
            return [()] * len(self)
        return [self.space.stages(self._point(index)) for index in range(len(self))]

    def neighbours(self, index: int) -> Iterable[int]:
        """Points that differ from one by one value of one dimension."""
        for row in grid_neighbours(int(self._rows[index]), self._sizes):
            near = int(np.searchsorted(self._rows, row))
            if near < len(self._rows) and self._rows[near] == row:
                yield near

    def known_costs(self, index: int) -> Mapping[str, float]:
        """What is known of the costs of a point before a trial."""
        return self.space.known_costs(self._point(index))

    def _point(self, index: int) -> tuple[int, ...]:
        return tuple(map(int, np.unravel_index(self._rows[index], self._sizes)))

    def _row(self, parameters: dict[str, Any]) -> int:
        return int(np.ravel_multi_index(point_from(self.space, parameters), self._sizes))

    def _chosen(self, tried: list[int], seed: int) -> Integers:
        if prod(self._sizes) <= MOST_DRAWN:
            return np.arange(prod(self._sizes))
        drawn = np.random.default_rng(seed).integers(0, prod(self._sizes), MOST_DRAWN)
        near = [row for each in tried for row in (each, *grid_neighbours(each, self._sizes))]
        return np.unique(np.concatenate([drawn, np.array(near, dtype=np.int64)]))


class FunctionDesign:
    """A designer of the points, as some finished trials show them.

    Args:
        finished: The trials that it knows of the beginning; ``add`` has further ones.
        stages: Of each of the points.
    """

    def __init__(
        self,
        points: Points,
        finished: Sequence[Finished],
        stages: Sequence[tuple[str, ...]],
        seed: int,
    ) -> None:
        self._points = points
        self._criteria = points.space.search.criteria
        self._measured: dict[str, dict[int, float]] = {}
        """Costs that trials had, by name and point."""
        for trial in finished:
            self._measure(trial)
        qualities = [self._signed(trial) for trial in finished if trial.result]
        best = max(qualities, default=1.0)
        low = min(qualities, default=0.0)
        if qualities:
            middle = float(np.median(qualities))
            low = max(low, middle - FAR * (best - middle)) if middle < best else low
        self._low, self._range = low, (best - low) or max(abs(best), 1e-9)
        self._predicted = {
            name: points.regression.predict(values) for name, values in self._measured.items()
        }
        seconds = FunctionSeconds(points.regression, stages)
        self._seconds = seconds
        self.designer = Designer(
            self._design_space(stages),
            seed,
            prior_of_settings(points.settings, points.features.shape[1] - len(points.settings)),
            seconds,
        )
        self.add(finished)

    def add(self, finished: Sequence[Finished]) -> None:
        """Learn from trials."""
        trials = []
        for trial in finished:
            point = self._points.index(trial.parameters)
            if point is None:
                continue
            if not trial.result:
                trials.append(Trial(point, 0, None, cause=trial.cause))
                continue
            self._measure(trial)
            self._seconds.add(point, trial.result["seconds"], trial.result["stages"])
            trials.append(Trial(point, 0, self._quality(self._signed(trial))))
        self.designer.update(trials)

    def score(self, quality: float) -> float:
        """The score of a quality."""
        signed = self._low + self._range * (quality - WORST) / (BEST - WORST)
        return self._criteria.metric.value_at(signed)

    def cost(self, name: str, point: int) -> float | None:
        """A cost of a point, known or predicted; None before any trial had it."""
        known = self._points.known_costs(point).get(name)
        if known is not None:
            return known
        measured = self._measured.get(name, {})
        if point in measured or name not in self._predicted:
            return measured.get(point)
        return float(np.exp(self._predicted[name][0][point]))

    def _signed(self, trial: Finished) -> float:
        return self._criteria.metric.quality(trial.result["score"])

    def _quality(self, signed: float) -> float:
        scaled = WORST + (BEST - WORST) * (signed - self._low) / self._range
        return float(np.clip(scaled, 0.0, 1.0))

    def _measure(self, trial: Finished) -> None:
        point = self._points.index(trial.parameters)
        if trial.result and point is not None:
            for name in self._points.space.search.costs:
                self._measured.setdefault(name, {})[point] = trial.result[name]

    def _design_space(self, stages: Sequence[tuple[str, ...]]) -> DesignSpace:
        points = self._points
        count = len(points)
        nothing = np.ones(count)
        numbers: dict[object, int] = {}
        paths = [numbers.setdefault(k[-1] if k else i, len(numbers)) for i, k in enumerate(stages)]
        return DesignSpace(
            runs=points.features,
            architecture=np.arange(count),
            steps=nothing,
            depth=nothing,
            step_flops=nothing,
            compressions=np.zeros((1, 1)),
            log_costs=lambda runs: np.array([[self._log_cost(int(run))] for run in runs]),
            limits=self._limits(),
            stable_path=np.array(paths),
            settings=points.settings,
            run_neighbours=points.neighbours,
            compression_neighbours=lambda index: (),
        )

    def _limits(self) -> tuple[float, float]:
        """Logarithms of the least cost and of the reference point's."""
        if self._criteria.is_at_fixed_cost:
            return 0.0, 0.0
        name = self._criteria.cost.name
        count = len(self._points)
        spread = np.unique(np.linspace(0, count - 1, min(count, 4096)).astype(int))
        costs = [cost for each in spread if (cost := self.cost(name, int(each))) is not None]
        measured = list(self._measured.get(name, {}).values())
        if not costs and not measured:
            return 0.0, 0.0
        highest = self._criteria.limit or max([*costs, *measured])
        lowest = min([*costs, *measured])
        return float(np.log10(min(lowest, highest))), float(np.log10(highest))

    def _log_cost(self, point: int) -> float:
        """Logarithm of the cost of a point; NaN where it is known, or nearly certain, to exceed a
        limit."""
        criteria = self._criteria
        known = self._points.known_costs(point)
        costs: dict[str, float] = {}
        for name in self._points.space.search.costs:
            cost = known.get(name, self._measured.get(name, {}).get(point))
            limit = criteria.limits.get(name, np.inf)
            if cost is None and name in self._predicted:
                mean, deviation = (float(each[point]) for each in self._predicted[name])
                if np.exp(mean - CERTAIN * deviation) > limit:
                    return np.nan
                cost = min(float(np.exp(mean)), limit)
            if cost is None:
                continue
            if cost > limit:
                return np.nan
            costs[name] = cost
        if criteria.is_at_fixed_cost:
            return 0.0
        return float(np.log10(costs[criteria.cost.name])) if criteria.cost.name in costs else 0.0


def _column(dimension: Dimension) -> Floats:
    return np.array(dimension.values, dtype=np.float64)
