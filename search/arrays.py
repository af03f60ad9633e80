"""Array types that samplers, replays and analyses share, and two typed BLAS/LAPACK calls."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dtrsm

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


def cholesky(matrix: Floats) -> Floats:
    """Lower Cholesky factor.

    Raises:
        numpy.linalg.LinAlgError: The matrix is not positive definite.
    """
    factor: Floats = np.linalg.cholesky(matrix).astype(np.float64, copy=False)
    return factor


def solve_lower(lower: Floats, right: Floats) -> Floats:
    """Solve a lower triangular system for one right-hand side ``(n,)`` or several ``(n, k)``."""
    # Solved from the right: NumPy's rows are BLAS's columns, so that nothing is transposed.
    columns = right.reshape(len(lower), -1)
    solved: Floats = dtrsm(1.0, lower.T, columns.T, side=1).T
    return solved.reshape(right.shape)
