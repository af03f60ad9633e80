"""Array types that samplers, replays and analyses share, and how they call BLAS and LAPACK."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dtrsm
from threadpoolctl import ThreadpoolController

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


def cholesky(matrix: Floats) -> Floats:
    """Lower Cholesky factor; raises ``LinAlgError`` where there is none."""
    return np.linalg.cholesky(matrix).astype(np.float64, copy=False)


def solve_lower(lower: Floats, right: Floats) -> Floats:
    """Solve a lower triangular system for one right-hand side ``(n,)`` or several ``(n, k)``."""
    # Solved from the right: NumPy's rows are BLAS's columns, so that nothing is transposed.
    columns = right.reshape(len(lower), -1)
    solved: Floats = dtrsm(1.0, lower.T, columns.T, side=1).T
    return solved.reshape(right.shape)


@cache
def _pools() -> ThreadpoolController:
    # Finding the loaded libraries takes milliseconds, and they do not change.
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """Limit NumPy and SciPy to one thread: more would slow each other and training down."""
    limit: AbstractContextManager[Any] = _pools().limit(limits=1, user_api="blas")
    return limit
