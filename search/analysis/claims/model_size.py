"""Claims 1, 2 and 7: larger models reach a lower loss, at equal FLOPs, steps or seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from search.analysis.claims.curves import (
    Axis,
    Curve,
    common_levels,
    count,
    curves,
    level_name,
    thinned,
)
from search.analysis.claims.inference import ALONE, TOGETHER, slope_over_architectures
from search.analysis.claims.measurements import Measurements
from search.analysis.claims.verdict import Claim, Effect, Finding, per_cent
from search.arrays import Floats

UNIT = "% of loss per doubling of parameters"
WORDS: dict[Axis, tuple[int, str, str]] = {
    "training_flops": (1, "FLOPs", "budgets that overlap in FLOPs"),
    "steps": (2, "steps", "budgets that overlap in steps"),
    "seconds": (7, "seconds", "trainings that overlap in seconds"),
}
"""By axis: number of the claim, what is equal, and what a comparison needs."""


@dataclass(frozen=True)
class Level:
    """Architectures compared at one level.

    Args:
        level: FLOPs, steps or seconds.
        lines: By size.
        logs: Logarithm of the loss, ``(seeds, lines)``.
    """

    level: float
    lines: tuple[Curve, ...]
    logs: Floats

    @property
    def losses(self) -> Floats:
        """Geometric mean of the loss over seeds, ``(lines,)``."""
        return np.asarray(np.exp(self.logs.mean(axis=0)))

    @property
    def best(self) -> Curve:
        """The curve of the lowest mean loss."""
        return self.lines[int(self.losses.argmin())]


def larger_is_better(axis: Axis) -> Claim:
    """The claim that larger models reach a lower loss at an equal amount of training."""
    number, equal, _ = WORDS[axis]
    return Claim(
        number,
        f"Larger is better at equal {equal}",
        f"At equal {equal} of training, the loss falls as the parameters of a model are doubled.",
        partial(_find, axis=axis),
        is_above=False,
    )


def compared(data: Measurements, axis: Axis) -> list[Level]:
    """Architectures at each common level of an axis."""
    lines = curves(data, axis)
    levels = []
    for level in common_levels(lines):
        there = tuple(line for line in lines if line.reaches(level))
        logs = np.stack([line.at(level) for line in there], axis=1)
        levels.append(Level(level, there, logs))
    return levels


def _find(data: Measurements, axis: Axis) -> Finding:
    levels = thinned(compared(data, axis))
    if not levels:
        _, equal, lacking = WORDS[axis]
        return Finding(
            f"No two sizes were trained over a common range of {equal}.",
            missing=(f"two sizes or more with {lacking}",),
        )
    effect = _slope(levels, TOGETHER)
    return Finding(
        _reading(levels, effect, axis),
        effect,
        rows=tuple(_row(level, axis) for level in levels),
        evidence=tuple(levels),
    )


def _slope(levels: Sequence[Level], confidence: float) -> Effect:
    """Change of the loss per doubling, over all levels together."""
    shapes = {line.architecture for level in levels for line in level.lines}
    order = {shape: k for k, shape in enumerate(sorted(shapes))}
    points = [
        (np.log2(line.parameters), log, order[line.architecture], group)
        for group, level in enumerate(levels)
        for line, log in zip(level.lines, level.logs.mean(axis=0), strict=True)
    ]
    x, y, architectures, groups = map(np.array, zip(*points, strict=True))
    estimate = slope_over_architectures(x, y, architectures, groups, seeds=len(levels[0].logs))
    return Effect.of(estimate, UNIT, per_cent, confidence)


def _reading(levels: list[Level], effect: Effect, axis: Axis) -> str:
    last = levels[-1]
    best, largest = last.best, last.lines[-1]
    verb = "falls" if effect.estimate < 0 else "rises"
    text = (
        f"With each doubling of parameters the loss {verb} by {abs(effect.estimate):.2g} %, over "
        f"{len(levels)} level{'s' * (len(levels) > 1)}. At {level_name(last.level, axis)}, the "
        f"longest training compared, the lowest loss is that of {best.architecture} "
        f"({count(best.parameters)} parameters)"
    )
    if best is largest:
        return f"{text}, the largest that was trained for as long."
    above = 100.0 * (last.losses[-1] / last.losses.min() - 1.0)
    return f"{text}; the largest, {largest.architecture}, ends {above:.2g} % above it."


def _row(level: Level, axis: Axis) -> dict[str, str]:
    smallest, best = level.lines[0], level.best
    slope = _slope([level], ALONE)
    return {
        "at": level_name(level.level, axis),
        "models": str(len(level.lines)),
        "smallest": f"{smallest.architecture} · {level.losses[0]:.3f}",
        "best": f"{best.architecture} ({count(best.parameters)}) · {level.losses.min():.3f}",
        "per doubling (%)": f"{slope.estimate:+.2f}",
        "95 % interval": slope.interval,
    }
