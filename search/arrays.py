"""Types of the arrays that samplers and replays pass around, and two of their factorisations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dtrsm

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
    """Solution of a lower triangular system, one column or many."""
    # From the right: numpy's rows are the columns of BLAS, and nothing has to be turned around.
    columns = right.reshape(len(lower), -1)
    solved: Floats = dtrsm(1.0, lower.T, columns.T, side=1).T
    return solved.reshape(right.shape)
