"""Claim 5: the compute-optimal model is stopped well before it has converged."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from search.analysis.claims.curves import Curve, thinned
from search.analysis.claims.model_size import Level, compared
from search.analysis.claims.resampling import Resampled
from search.analysis.claims.verdict import (
    Effect,
    Verdict,
    answer_above,
    count,
    mean_of,
    too_noisy,
)
from search.arrays import Floats

LEAST_FACTOR = 1.9
"""How much longer the same architecture must have been trained: about a doubling."""
CONVERGED = 1.0
"""A model counts as converged when that much more training takes less than this many per cent off
its loss."""
UNIT = "% of its loss left"
CLAIM = (
    5,
    "The compute-optimal model is stopped early",
    "The model with the lowest loss for its training compute is far from converged: the same "
    "architecture would still improve by more than 1 % if trained on.",
)


@dataclass(frozen=True)
class Stop:
    """The compute-optimal model at one level of compute.

    Args:
        level: Training FLOPs.
        curve: Loss of its architecture.
        loss: When it is stopped, ``(1 + DRAWS,)``.
        is_largest: Whether it is the largest architecture that was trained at this level.
    """

    level: float
    curve: Curve
    loss: Floats
    is_largest: bool

    @property
    def left(self) -> Floats:
        """Per cent of its loss that its longest training takes off, ``(1 + DRAWS,)``."""
        return np.asarray(100.0 * (1.0 - self.curve.losses[:, -1] / self.loss))

    @property
    def factor(self) -> float:
        """Compute of its longest training over that of the stop."""
        return float(2 ** self.curve.x[-1] / self.level)

    @property
    def fraction_left(self) -> float:
        """Fraction of its curve's gain, from its shortest to its longest budget, still to come."""
        first, last = self.curve.losses[0, 0], self.curve.losses[0, -1]
        return float((self.loss[0] - last) / (first - last)) if first > last else math.nan

    @property
    def next_doubling(self) -> Floats:
        """Per cent of its loss that the next doubling of training takes off."""
        return np.asarray(100.0 * (1.0 - self.curve.at(2 * self.level) / self.loss))


def stops_early(data: Resampled) -> Verdict:
    """Claim 5: the compute-optimal model is stopped before convergence."""
    levels = compared(data, "training_flops")
    measurable = [stop for stop in map(_stop, levels) if stop.factor >= LEAST_FACTOR]
    stops = thinned(measurable)
    if not stops:
        return Verdict(
            *CLAIM,
            "No compute-optimal architecture was also trained for twice as long.",
            missing=("budgets of twice the compute, for the architectures that win at each level",),
        )
    effect = Effect.of(mean_of([stop.left for stop in stops]), UNIT)
    answer = answer_above(effect, CONVERGED, least=CONVERGED)
    return Verdict(
        *CLAIM,
        _reading(stops, effect, len(measurable), len(levels)),
        answer,
        effect,
        missing=too_noisy(answer, "other seeds: the interval includes 1 %"),
        rows=tuple(_row(stop) for stop in stops),
        evidence=tuple(stops),
    )


def _stop(level: Level) -> Stop:
    best = level.best
    return Stop(level.level, best, best.at(level.level), is_largest=best is level.lines[-1])


def _reading(stops: list[Stop], effect: Effect, measurable: int, levels: int) -> str:
    factor = math.exp(sum(math.log(stop.factor) for stop in stops) / len(stops))
    doubling = float(mean_of([stop.next_doubling for stop in stops])[0])
    text = (
        f"Trained on with {factor:.2g} times the compute, the optimal model loses another "
        f"{effect.estimate:.2g} % of its loss; the next doubling alone takes {doubling:.2g} %. "
        f"Measurable at {measurable} of {levels} levels."
    )
    if any(stop.is_largest for stop in stops):
        text += (
            " At some levels the optimum is the largest model trained; a larger one may be better."
        )
    return text


def _row(stop: Stop) -> dict[str, str]:
    left = Effect.of(stop.left, UNIT)
    run = stop.curve.run
    left_of_curve = stop.fraction_left
    return {
        "at": f"{count(stop.level)}FLOP",
        "optimal model": f"{run.architecture} ({count(run.parameters)})",
        "loss": f"{stop.loss[0]:.3f}",
        "trained on": f"× {stop.factor:.3g}",
        "loss then": f"{stop.curve.losses[0, -1]:.3f}",
        "left (%)": f"{left.estimate:+.2f}",
        "95 % interval": left.interval,
        "fraction of its curve left": "–" if math.isnan(left_of_curve) else f"{left_of_curve:.0%}",
        "next doubling (%)": f"{stop.next_doubling[0]:+.2f}",
    }
