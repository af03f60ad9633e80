"""A regression of what is positive and unknown before a trial: a cost, or seconds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from search.arrays import Floats

LEVEL, SLOPE = 10.0, 1.0
"""Prior standard deviations of the logarithm: of its level, and along each feature."""
NOISE = 0.1
"""Standard deviation of the noise of a logarithm."""
CERTAIN = 2.0
"""Standard deviations below the mean that a value is hardly below."""


class LogRegression:
    """Bayesian linear regression of a logarithm over features and the squares of some of them.

    Points that were observed have their own mean. The noise is known (Rasmussen & Williams 2006,
    *Gaussian Processes for Machine Learning*, section 2.1).

    Args:
        features: ``(points, p)``.
        squared: How many of the first features have a square, too.
    """

    def __init__(self, features: Floats, squared: int) -> None:
        count = len(features)
        self._basis: Floats = np.column_stack(
            [np.ones(count), features, features[:, :squared] ** 2]
        )
        self._precision = np.full(self._basis.shape[1], SLOPE**-2.0)
        self._precision[0] = LEVEL**-2.0

    def __len__(self) -> int:
        return len(self._basis)

    def predict(self, observed: Mapping[int, float]) -> tuple[Floats, Floats]:
        """The natural logarithm at each point, and its standard deviation, ``(points,)`` each.

        Args:
            observed: Positive values, by the index of their point; without any, the logarithm is 0.
        """
        indices = np.fromiter(observed, dtype=np.int64)
        values = np.log(np.fromiter(observed.values(), dtype=np.float64))
        basis = self._basis[indices]
        covariance = np.linalg.inv(np.diag(self._precision) + basis.T @ basis / NOISE**2)
        mean: Floats = self._basis @ (covariance @ (basis.T @ values)) / NOISE**2
        variance = np.einsum("ij,jk,ik->i", self._basis, covariance, self._basis)
        deviation: Floats = np.sqrt(np.maximum(variance, 0.0) + NOISE**2)
        mean[indices], deviation[indices] = values, 0.0
        return mean, deviation
