"""A limit of one BLAS thread for the small matrices of a proposal."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


@lru_cache(maxsize=1)
def _pools() -> ThreadpoolController:
    # Finding the loaded libraries takes milliseconds, and they do not change.
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """Limit NumPy and SciPy to one thread: more would slow each other and training down."""
    limit: AbstractContextManager[Any] = _pools().limit(limits=1, user_api="blas")
    return limit
