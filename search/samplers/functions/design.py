"""The design space of a function: its points, and what trials have shown of them.

The Gaussian process of the ``frontier`` sampler expects qualities between 0 and 1, and costs that
are known before a trial. Here both follow from the trials: scores are scaled to what was seen, and
costs that the user does not give are predicted by a regression. So a design is made again whenever
the Gaussian process is fitted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.arrays import Floats, Integers
from search.samplers.frontier.design_space import DesignSpace
from search.samplers.frontier.designer import Designer
from search.samplers.frontier.history import FailureCause, Scored, Trial
from search.samplers.frontier.prior import prior_of_settings
from search.samplers.functions.points import Points
from search.samplers.functions.regression import CERTAIN
from search.samplers.functions.seconds import FunctionSeconds
from search.storage.states import HUNG, NODE_LOST, WORKER_DIED
from spaces.cost.metric import Metric

WORST, BEST = 0.25, 0.75
"""Qualities of the worst and the best score so far: a better one has a place above."""
FAR = 3.0
"""Scores farther below the median than so many times the best is above count as being there: a
single broken trial would make all others look alike."""


UNKNOWN = (NODE_LOST, WORKER_DIED, HUNG)
"""States of failed trials that say nothing of their values. Of any other failure the values may be
the cause, as of a loss that is not finite, a model that exceeds the memory, or sizes that do not
fit, and values near them may fail too."""


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


def cause_of(state: str) -> FailureCause:
    """What a failed trial of a state says of the values near its own."""
    return FailureCause.MACHINE if state in UNKNOWN else FailureCause.MODEL


@dataclass(frozen=True)
class SeenRange:
    """The range of a score that was seen, as qualities.

    Args:
        low: The worst score so far, as ``Metric.quality`` has it.
        length: From there to the best.
    """

    metric: Metric
    low: float
    length: float

    @classmethod
    def of(cls, metric: Metric, scores: Sequence[float]) -> SeenRange:
        """The range of the scores of complete trials."""
        signed = list(map(metric.quality, scores))
        best, low = max(signed, default=1.0), min(signed, default=0.0)
        if signed:
            middle = float(np.median(signed))
            low = max(low, middle - FAR * (best - middle)) if middle < best else low
        return cls(metric, low, (best - low) or max(abs(best), 1e-9))

    def quality(self, score: float) -> float:
        """The quality of a score, 0 to 1."""
        above = (self.metric.quality(score) - self.low) / self.length
        return float(np.clip(WORST + (BEST - WORST) * above, 0.0, 1.0))

    def score(self, quality: float) -> float:
        """The score of a quality."""
        signed = self.low + self.length * (quality - WORST) / (BEST - WORST)
        return self.metric.value_at(signed)


class FunctionDesign:
    """A designer of the points, as some finished trials show them.

    Args:
        finished: The trials that it knows of the beginning; ``add`` has further ones.
        stages: Of each of the points.
        earlier: Trials of earlier searches.
    """

    def __init__(
        self,
        points: Points,
        finished: Sequence[Finished],
        stages: Sequence[tuple[str, ...]],
        seed: int,
        earlier: Sequence[Finished] = (),
    ) -> None:
        self._points = points
        self._criteria = points.space.search.criteria
        self._measured: dict[str, dict[int, float]] = {}
        """Costs that trials had, by name and point."""
        known = [*earlier, *finished]
        for trial in known:
            self._measure(trial)
        scores = [self._criteria.scores(trial.result) for trial in known if trial.result]
        self._ranges = [
            SeenRange.of(metric, [each[place] for each in scores])
            for place, metric in enumerate(self._criteria.metrics)
        ]
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
        for trial in earlier:
            point = points.index(trial.parameters)
            if trial.result and point is not None:
                seconds.learn(point, trial.result["seconds"], trial.result["stages"])
        self.designer.learn(filter(None, map(self._observed, earlier)))
        self.add(finished)

    def add(self, finished: Sequence[Finished]) -> None:
        """Learn from trials."""
        for trial in finished:
            point = self._points.index(trial.parameters)
            if trial.result and point is not None:
                self._measure(trial)
                self._seconds.add(point, trial.result["seconds"], trial.result["stages"])
        self.designer.update(filter(None, map(self._observed, finished)))

    def _observed(self, trial: Finished) -> Trial | None:
        """A trial as the designer takes it; None where it is not among the points."""
        point = self._points.index(trial.parameters)
        if point is None:
            return None
        if not trial.result:
            return Trial(point, 0, None, cause=trial.cause)
        scores = self._criteria.scores(trial.result)
        first, *further = map(SeenRange.quality, self._ranges, scores)
        return Trial(point, 0, first, further=tuple(map(Scored, further)))

    def score(self, quality: float) -> float:
        """The score of a quality."""
        return self._ranges[0].score(quality)

    def cost(self, name: str, point: int) -> float | None:
        """A cost of a point, known or predicted; None before any trial had it."""
        known = self._points.known_costs(point).get(name)
        if known is not None:
            return known
        measured = self._measured.get(name, {})
        if point in measured or name not in self._predicted:
            return measured.get(point)
        return float(np.exp(self._predicted[name][0][point]))

    def _measure(self, trial: Finished) -> None:
        point = self._points.index(trial.parameters)
        if trial.result and point is not None:
            for name in self._points.space.search.costs:
                self._measured.setdefault(name, {})[point] = trial.result[name]

    def _design_space(self, stages: Sequence[tuple[str, ...]]) -> DesignSpace:
        points, criteria = self._points, self._criteria
        count = len(points.features)
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
            log_costs=lambda runs: self._log_costs(runs)[..., 0],
            limits=self._limits(criteria.cost.name),
            further_costs=(lambda runs: self._log_costs(runs)[..., 1:])
            if criteria.further_costs
            else None,
            further_limits=tuple(self._limits(cost.name) for cost in criteria.further_costs),
            further_baselines=(None,) * len(criteria.further_metrics),
            stable_path=np.array(paths),
            settings=points.settings,
            run_neighbours=points.neighbours,
            compression_neighbours=lambda index: (),
            earlier=(points.outside, 0),
        )

    def _limits(self, name: str) -> tuple[float, float]:
        """Logarithms of the least cost and of the reference point's, of a cost axis."""
        if self._criteria.is_at_fixed_cost:
            return 0.0, 0.0
        count = len(self._points)
        spread = np.unique(np.linspace(0, count - 1, min(count, 4096)).astype(int))
        costs = [cost for each in spread if (cost := self.cost(name, int(each))) is not None]
        known = self._measured.get(name, {})
        measured = [cost for point, cost in known.items() if point < count]
        if not costs and not measured:
            return 0.0, 0.0
        highest = self._criteria.limits.get(name) or max([*costs, *measured])
        lowest = min([*costs, *measured])
        return float(np.log10(min(lowest, highest))), float(np.log10(highest))

    def _log_costs(self, points: Integers) -> Floats:
        """Logarithms of the costs of some points, ``(points, 1, axes)``; NaN where one is known, or
        nearly certain, to exceed a limit."""
        return np.array([[self._log_costs_of(int(point))] for point in points])

    def _log_costs_of(self, point: int) -> list[float]:
        criteria = self._criteria
        nothing = [np.nan] * len(criteria.axes)
        if point >= len(self._points) or not self._points.is_allowed(point):
            return nothing
        known = self._points.known_costs(point)
        costs: dict[str, float] = {}
        for name in self._points.space.search.costs:
            cost = known.get(name, self._measured.get(name, {}).get(point))
            limit = criteria.limits.get(name, np.inf)
            if cost is None and name in self._predicted:
                mean, deviation = (float(each[point]) for each in self._predicted[name])
                if np.exp(mean - CERTAIN * deviation) > limit:
                    return nothing
                cost = min(float(np.exp(mean)), limit)
            if cost is None:
                continue
            if cost > limit:
                return nothing
            costs[name] = cost
        if criteria.is_at_fixed_cost:
            return [0.0]
        # Before any trial had it, a cost is unknown.
        return [float(np.log10(costs.get(cost.name, 1.0))) for cost in criteria.axes]
