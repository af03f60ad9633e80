"""Types of the arrays that samplers and replays pass around, and two of their factorisations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


def cholesky(matrix: Floats) -> Floats:
    """Lower factor.

    Raises:
        numpy.linalg.LinAlgError: The matrix is not positive definite.
    """
    factor: Floats = np.linalg.cholesky(matrix).astype(np.float64, copy=False)
    return factor


def solve_lower(lower: Floats, right: Floats) -> Floats:
    """Solution of a lower triangular system."""
    solved: Floats = solve_triangular(lower, right, lower=True, check_finite=False)
    return solved
