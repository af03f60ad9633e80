"""Scores of predicted numbers: correlations and the mean squared error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def pearson(pairs: Floats) -> float:
    """Pearson's correlation of two columns ``(examples, 2)``; 0 where one of them is constant."""
    one, other = (pairs - pairs.mean(0)).T
    product = math.sqrt(float(one @ one) * float(other @ other))
    return min(1.0, max(-1.0, float(one @ other) / product)) if product > 0.0 else 0.0


def spearman(pairs: Floats) -> float:
    """Spearman's rank correlation of two columns: Pearson's of their ranks, ties averaged."""
    from scipy.stats import rankdata

    return pearson(rankdata(pairs, axis=0))


def rmse(pairs: Floats) -> float:
    """Root of the mean squared difference of two columns."""
    return math.sqrt(float(np.mean((pairs[:, 0] - pairs[:, 1]) ** 2)))


STATISTICS: dict[str, Callable[[Floats], float]] = {
    "spearman": spearman,
    "pearson": pearson,
    "rmse": rmse,
}
"""By the name of the metric."""


def number_score(numbers: Sequence[float | None], labels: Sequence[float], metric: str) -> float:
    """The score of numbers: ``spearman``, ``pearson`` or ``rmse``."""
    return STATISTICS[metric](np.stack([np.asarray(numbers), np.asarray(labels)], axis=1))
