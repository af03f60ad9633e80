"""Scores of predicted numbers, as tlc's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def number_score(numbers: Sequence[float | None], labels: Sequence[float], metric: str) -> float:
    """The score of numbers: ``spearman``, ``pearson`` or ``rmse``."""
    found, wanted = np.asarray(numbers, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if metric == "rmse":
        return math.sqrt(float(np.mean((found - wanted) ** 2)))
    if metric == "spearman":
        from scipy.stats import rankdata

        found, wanted = rankdata(found), rankdata(wanted)
    if np.ptp(found) == 0.0 or np.ptp(wanted) == 0.0:
        return 0.0
    return float(np.corrcoef(found, wanted)[0, 1])
