"""Estimates with intervals from independent units: whole training paths, or architectures.

The budgets of one architecture and seed are points of one training path, and its compressions are
compressions of them: only another architecture or another seed is another unit. Units are few, so
that intervals are those of Student's t; a percentile bootstrap of two to five units is far too
narrow. All claims are tested at once: their intervals are simultaneous (Bonferroni), and all of
them together hold in 95 % of studies. Below three seeds there is no interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from search.arrays import Floats, Integers

CLAIMS_TESTED = 10
TOGETHER = 1.0 - 0.05 / CLAIMS_TESTED
"""Confidence of the interval of each claim, so that all of them hold together in 95 %."""
ALONE = 0.95
"""Confidence of an interval that decides nothing, such as that of one level."""
LEAST_SEEDS = 3
"""Seeds that an interval needs. The t-interval of two is 9 standard deviations to each side."""
LEAST_ARCHITECTURES = 4
"""Architectures that the interval of a slope needs: two degrees of freedom."""


@dataclass(frozen=True)
class Estimate:
    """An estimate with its interval.

    Args:
        error: Its standard error; NaN where it cannot be estimated.
        freedom: Degrees of freedom of the standard error.
        units: The independent units, in words.
    """

    value: float
    error: float
    freedom: float
    units: str

    def interval(self, confidence: float) -> tuple[float, float]:
        """Ends of its interval; infinite where there is no standard error."""
        if not math.isfinite(self.error):
            return -math.inf, math.inf
        from scipy.special import stdtrit

        half = float(stdtrit(self.freedom, 0.5 + confidence / 2)) * self.error
        return self.value - half, self.value + half


def over_paths(values: Floats, weights: Floats, architectures: Integers) -> Estimate:
    """Mean over seeds of a weighted sum of measurements; the unit is a path (architecture, seed).

    Each architecture contributes its own variance over seeds. The degrees of freedom are those of
    Welch 1947 and Satterthwaite 1946: few where one architecture dominates the variance, many where
    a comparison averages over several.

    Args:
        values: Measurements, ``(seeds, columns)``.
        weights: Weight of each in the sum of its seed, ``(seeds, columns)``. Where they depend on
            measurements, then on those of other seeds only.
        architectures: Of each column, ``(columns,)``.
    """
    seeds = len(values)
    used = np.unique(architectures[(weights != 0).any(axis=0)])
    value = float((values * weights).sum(axis=1).mean())
    shapes = _count(len(used), "architecture")
    units = f"{seeds * len(used)} training paths: {shapes}, {seeds} seeds"
    if seeds < LEAST_SEEDS:
        return Estimate(value, math.nan, 0.0, units)
    parts = weights * (values - values.mean(axis=0))
    variance, squares = 0.0, 0.0
    for each in used:
        inside = architectures == each
        own = parts[:, inside].sum(axis=1)
        part = float(own @ own) / (seeds * (seeds - 1))
        measured = int((weights[:, inside] != 0).any(axis=1).sum())
        variance += part
        squares += part**2 / (measured * (seeds - 1) / seeds)
    freedom = max(variance**2 / squares, 1.0) if squares > 0 else 1.0
    return Estimate(value, math.sqrt(variance), freedom, units)


def slope_over_architectures(
    x: Floats, y: Floats, architectures: Integers, groups: Integers, *, seeds: int
) -> Estimate:
    """Slope of ``y`` over ``x``; the unit is an architecture, with all its seeds and budgets.

    ``y`` is taken as the sum of an effect of its group, such as a level of training, and one of its
    architecture, and the latter is regressed on ``x``. Residuals of architectures hold what is
    peculiar to one, such as a learning rate that suits it, beside the noise of its seeds. In a
    balanced design the interval is exact for normal residuals.

    Args:
        x: Of the architecture, ``(measurements,)``.
        y: Mean over seeds, ``(measurements,)``.
        architectures: Of each measurement, ``(measurements,)``.
        groups: Only measurements of the same group are compared, ``(measurements,)``.
        seeds: Of each measurement.
    """
    names, first, own = np.unique(architectures, return_index=True, return_inverse=True)
    at, group = x[first], np.unique(groups, return_inverse=True)[1]
    count = len(names)
    effects = _effects(y, own, group)
    parts = _connected(own, group)
    at, effects = (_centred(each, parts) for each in (at, effects))
    squares = float(at @ at)
    slope = float(at @ effects) / squares if squares > 1e-9 else math.nan
    freedom = count - len(set(parts.tolist())) - 1
    units = f"{_count(count, 'architecture')}, each with {seeds} seeds"
    if seeds < LEAST_SEEDS or count < LEAST_ARCHITECTURES or freedom < 1 or math.isnan(slope):
        return Estimate(slope, math.nan, 0.0, units)
    residuals = effects - slope * at
    error = math.sqrt(float(residuals @ residuals) / freedom / squares)
    return Estimate(slope, error, float(freedom), units)


def best_of_others(scores: Floats) -> Integers:
    """The best column for each seed, by the mean over the other seeds, ``(seeds,)``.

    What is chosen on some seeds and measured on another has no bias of selection. With one seed,
    the same seed chooses: its answer describes that run.

    Args:
        scores: ``(seeds, columns)``; the highest is the best.
    """
    seeds = len(scores)
    others = scores if seeds == 1 else (scores.sum(axis=0) - scores) / (seeds - 1)
    return np.asarray(others.argmax(axis=1), dtype=np.int64)


def _effects(y: Floats, architectures: Integers, groups: Integers) -> Floats:
    """Effect of each architecture in the least-squares fit of both effects."""
    count = int(architectures.max()) + 1
    design = np.zeros((len(y), count + int(groups.max()) + 1))
    rows = np.arange(len(y))
    design[rows, architectures] = 1.0
    design[rows, count + groups] = 1.0
    return np.asarray(np.linalg.lstsq(design, y, rcond=None)[0][:count])


def _connected(architectures: Integers, groups: Integers) -> Integers:
    """Part of each architecture: those of two parts have no group in common, nor by others."""
    parts = np.arange(int(architectures.max()) + 1)
    for group in np.unique(groups):
        joined = parts[architectures[groups == group]]
        parts[np.isin(parts, joined)] = joined.min()
    return parts


def _centred(values: Floats, parts: Integers) -> Floats:
    means = {part: values[parts == part].mean() for part in np.unique(parts)}
    return np.asarray(values - np.array([means[part] for part in parts]))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
