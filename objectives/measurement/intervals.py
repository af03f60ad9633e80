"""Standard errors and 95 % intervals of means over independent groups."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Groups = npt.NDArray[np.integer]
"""The group of each example ``(examples,)``; examples of one group depend on each other."""
Floats = npt.NDArray[np.float64]

NORMAL_QUANTILE = 1.959964
"""Of the standard normal distribution, for a two-sided 95 % interval."""


def error_of_mean(values: Floats, groups: Groups) -> tuple[float, float]:
    """Standard error of a mean over independent groups, and the quantile of its 95 % interval.

    The error is that of a ratio of sums over groups, robust to dependence within them (Cameron and
    Miller 2015, A Practitioner's Guide to Cluster-Robust Inference, section II).
    """
    _, index = np.unique(groups, return_inverse=True)
    residuals = np.bincount(index, values - values.mean())
    count = len(residuals)
    error = math.sqrt(count / (count - 1) * float((residuals**2).sum())) / len(values)
    return error, quantile_of(count, len(values))


def half_of_jackknife(without: Floats, examples: int) -> float:
    """Half of the interval of a statistic, from its values without each group in turn.

    Their spread is the standard error (Efron and Stein 1981, Annals of Statistics 9), which holds
    for any smooth statistic of independent groups.
    """
    count = len(without)
    error = math.sqrt((count - 1) * float(np.var(without)))
    return quantile_of(count, examples) * error


def quantile_of(groups: int, examples: int) -> float:
    """Quantile of a two-sided 95 % interval: of few groups that of Student's distribution."""
    if groups == examples:
        return NORMAL_QUANTILE
    from scipy.special import stdtrit

    return float(stdtrit(groups - 1, 0.975))


def wilson(fraction: float, independent: float, quantile: float) -> tuple[float, float]:
    """Wilson's score interval of a fraction of independent examples (Wilson 1927)."""
    z = quantile**2 / independent
    middle = fraction + z / 2.0
    half = math.sqrt(z * (fraction * (1.0 - fraction) + z / 4.0))
    low, high = (middle - half) / (1.0 + z), (middle + half) / (1.0 + z)
    # Rounded, the interval of 0 or 1 would not hold it.
    return min(fraction, max(0.0, low)), max(fraction, min(1.0, high))
