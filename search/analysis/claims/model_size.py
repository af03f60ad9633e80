"""Claims 1 and 2: larger models reach a lower loss, at equal compute and at equal steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.analysis.claims.curves import LARGER, Axis, Curve, common_levels, curves, thinned
from search.analysis.claims.resampling import Resampled
from search.analysis.claims.verdict import (
    Effect,
    Verdict,
    answer_below,
    bias_reduced_best,
    count,
    mean_of,
    too_noisy,
)
from search.arrays import Floats

CLAIMS: dict[Axis, tuple[int, str, str]] = {
    "training_flops": (1, "compute", "training compute"),
    "steps": (2, "steps", "steps of training"),
}
"""By axis: number of the claim, and what is equal, in short and in full."""
NATS = "nats of loss"
NEGLIGIBLE = 0.01
"""Fraction of the loss below which a difference counts as none."""


@dataclass(frozen=True)
class Level:
    """Architectures compared at one level.

    Args:
        level: FLOPs or steps.
        lines: By size.
        losses: ``(1 + DRAWS, lines)``.
    """

    level: float
    lines: tuple[Curve, ...]
    losses: Floats

    @property
    def best(self) -> Curve:
        """The curve of the lowest loss that was measured."""
        return self.lines[int(self.losses[0].argmin())]

    @property
    def difference(self) -> Floats:
        """Loss of the best larger model minus that of the smallest, ``(1 + DRAWS,)``."""
        smallest = self.lines[0].parameters
        larger = [k for k, c in enumerate(self.lines) if c.parameters >= LARGER * smallest]
        return np.asarray(-bias_reduced_best(-self.losses[:, larger]) - self.losses[:, 0])

    @property
    def rank_correlation(self) -> Floats:
        """Spearman's correlation of size and loss, ``(1 + DRAWS,)``: -1 where larger is better."""
        ranks = self.losses.argsort(axis=1).argsort(axis=1).astype(np.float64)
        sizes = np.arange(len(self.lines), dtype=np.float64)
        centred = ranks - ranks.mean(axis=1, keepdims=True)
        sizes -= sizes.mean()
        return np.asarray((centred @ sizes) / (sizes @ sizes))


def compared(data: Resampled, axis: Axis) -> list[Level]:
    """Architectures at each common level of an axis."""
    lines = curves(data, axis)
    levels = []
    for level in common_levels(lines):
        there = tuple(line for line in lines if line.reaches(level))
        losses = np.stack([line.at(level) for line in there], axis=1)
        levels.append(Level(level, there, losses))
    return levels


def larger_is_better(data: Resampled, axis: Axis) -> Verdict:
    """Claims 1 and 2: larger models reach a lower loss, at equal compute and at equal steps."""
    number, word, levelled = CLAIMS[axis]
    claim = (
        number,
        f"Larger is better at equal {word}",
        f"At equal {levelled}, larger models reach a lower loss than small ones.",
    )
    levels = thinned(compared(data, axis))
    if not levels:
        return Verdict(
            *claim,
            f"No two sizes were trained over a common range of {word}.",
            missing=(f"two sizes or more, each with budgets that overlap in {word}",),
        )
    effect = Effect.of(mean_of([level.difference for level in levels]), NATS)
    losses = float(np.mean([level.losses[0].mean() for level in levels]))
    answer = answer_below(effect, NEGLIGIBLE * losses)
    return Verdict(
        *claim,
        _reading(levels, effect, axis),
        answer,
        effect,
        missing=too_noisy(answer),
        rows=tuple(_row(level, axis) for level in levels),
        evidence=tuple(levels),
    )


def _reading(levels: list[Level], effect: Effect, axis: Axis) -> str:
    last = levels[-1]
    effects = [Effect.of(level.difference, NATS) for level in levels]
    lower = sum(each.high < 0 for each in effects)
    higher = sum(each.low > 0 for each in effects)
    word = "below" if effect.estimate < 0 else "above"
    text = (
        f"On average over {len(levels)} level{'s' * (len(levels) > 1)}, the best larger model ends "
        f"{abs(effect.estimate):.3g} nats {word} the smallest: clearly lower at {lower} of them, "
        f"clearly higher at {higher}. At {level_name(last, axis)} the lowest loss is that of "
        f"{last.best.architecture} ({count(last.best.parameters)} parameters"
    )
    largest = last.lines[-1]
    if last.best is largest:
        return f"{text}), the largest trained: loss does not rise again within these sizes."
    rise = Effect.of(last.losses[:, -1] - last.losses[:, last.losses[0].argmin()], NATS)
    if rise.low > 0:
        return (
            f"{text}); beyond it loss rises again, by {rise.estimate:.3g} nats up to "
            f"{largest.architecture}."
        )
    return f"{text}); larger models differ from it by no more than noise."


def _row(level: Level, axis: Axis) -> dict[str, str]:
    smallest, best = level.lines[0], level.best
    difference = Effect.of(level.difference, NATS)
    ranks = Effect.of(level.rank_correlation, "")
    lowest = level.losses[0].min()
    return {
        "at": level_name(level, axis),
        "models": str(len(level.lines)),
        "smallest": f"{smallest.architecture} · {level.losses[0, 0]:.3f}",
        "best": f"{best.architecture} ({count(best.parameters)}) · {lowest:.3f}",
        "larger − smallest": f"{difference.estimate:+.3f}",
        "95 % interval": difference.interval,
        "rank correlation": f"{ranks.estimate:+.2f} ({ranks.low:+.2f} to {ranks.high:+.2f})",
    }


def level_name(level: Level, axis: Axis) -> str:
    """A level with its unit."""
    if axis == "steps":
        return f"{round(level.level):,} steps"
    return f"{count(level.level)}FLOP"
