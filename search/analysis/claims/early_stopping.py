"""Claim 5: the compute-optimal model is stopped well before it has converged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.analysis.claims.curves import Curve, count, level_name, thinned
from search.analysis.claims.inference import ALONE, TOGETHER, best_of_others, over_paths
from search.analysis.claims.measurements import Measurements
from search.analysis.claims.model_size import Level, compared
from search.analysis.claims.verdict import Claim, Effect, Finding, per_cent
from search.arrays import Floats

LEAST_FACTOR = 1.9
"""How much longer the same architecture must have been trained: about a doubling."""
CONVERGED = 1.0
"""A model counts as converged when that much more training takes less than this many per cent off
its loss."""
UNIT = "% of its loss left"


@dataclass(frozen=True)
class Stop:
    """The compute-optimal model at one level of compute.

    Args:
        level: Training FLOPs.
        curve: Loss of the architecture with the lowest mean loss there.
        weights: For the logarithm of the loss that is left: of the model that the other seeds
            choose as the optimal one, for each seed, ``(seeds, cells)``.
        is_largest: Whether it is the largest architecture that was trained at this level.
    """

    level: float
    curve: Curve
    weights: Floats
    is_largest: bool

    @property
    def loss(self) -> float:
        """When it is stopped."""
        return float(np.exp(self.curve.at(self.level).mean()))

    @property
    def factor(self) -> float:
        """Compute of its longest training over that of the stop."""
        return float(2 ** self.curve.x[-1] / self.level)

    @property
    def fraction_left(self) -> float:
        """Fraction of its curve's gain, from its shortest to its longest budget, still to come."""
        first, last = self.curve.losses[0], self.curve.losses[-1]
        return float((self.loss - last) / (first - last)) if first > last else math.nan


def _find(data: Measurements) -> Finding:
    levels = compared(data, "training_flops")
    measurable = [stop for level in levels if (stop := _stop(data, level)) is not None]
    stops = thinned(measurable)
    if not stops:
        return Finding(
            "No compute-optimal architecture was also trained for twice as long.",
            missing=("budgets of twice the compute, for the architectures that win at each level",),
        )
    effect = left(data, stops, TOGETHER)
    return Finding(
        _reading(stops, effect, len(measurable), len(levels)),
        effect,
        rows=tuple(_row(data, stop) for stop in stops),
        evidence=tuple(stops),
    )


CLAIM = Claim(
    5,
    "The compute-optimal model is stopped early",
    "The model with the lowest loss for its training FLOPs is far from converged: the same "
    "architecture would still improve by more than 1 % if trained on.",
    _find,
    bound=CONVERGED,
)


def _stop(data: Measurements, level: Level) -> Stop | None:
    """The optimal model at a level; None where some seed's was not trained for twice as long."""
    weights = np.zeros(data.losses.shape)
    for seed, chosen in enumerate(best_of_others(-level.logs)):
        curve = level.lines[int(chosen)]
        if 2 ** curve.x[-1] < LEAST_FACTOR * level.level:
            return None
        weights[seed, curve.cells] += curve.weights(level.level)
        weights[seed, curve.cells[-1]] -= 1.0
    best = level.best
    if 2 ** best.x[-1] < LEAST_FACTOR * level.level:
        return None
    return Stop(level.level, best, weights, is_largest=best is level.lines[-1])


def left(data: Measurements, stops: Sequence[Stop], confidence: float = ALONE) -> Effect:
    """Per cent of the loss that the longest training takes off, over some levels."""
    weights = np.mean([stop.weights for stop in stops], axis=0)
    estimate = over_paths(np.log(data.losses), weights, data.architecture_of)
    return Effect.of(estimate, UNIT, lambda left: -per_cent(-left), confidence)


def _reading(stops: list[Stop], effect: Effect, measurable: int, levels: int) -> str:
    factor = math.exp(sum(math.log(stop.factor) for stop in stops) / len(stops))
    text = (
        f"Trained on with {factor:.2g} times the compute, the optimal model loses another "
        f"{effect.estimate:.2g} % of its loss. Measurable at {measurable} of {levels} levels."
    )
    if any(stop.is_largest for stop in stops):
        text += (
            " At some levels the optimum is the largest model trained; a larger one may be better."
        )
    return text


def _row(data: Measurements, stop: Stop) -> dict[str, str]:
    effect = left(data, [stop])
    run = stop.curve.run
    return {
        "at": level_name(stop.level, "training_flops"),
        "optimal model": f"{run.architecture} ({count(run.parameters)})",
        "loss": f"{stop.loss:.3f}",
        "trained on": f"× {stop.factor:.3g}",
        "loss then": f"{stop.curve.losses[-1]:.3f}",
        "left (%)": f"{effect.estimate:+.2f}",
        "95 % interval": effect.interval,
        "fraction of its curve left": "–"
        if math.isnan(stop.fraction_left)
        else f"{stop.fraction_left:.0%}",
    }
