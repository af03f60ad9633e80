"""One thread for the small matrices of a proposal."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


@lru_cache(maxsize=1)
def _pools() -> ThreadpoolController:
    # Finding the libraries takes milliseconds; they stay the same while the process lives.
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """Keep NumPy and SciPy to one thread: more get into the way of each other and of training."""
    limit: AbstractContextManager[Any] = _pools().limit(limits=1, user_api="blas")
    return limit
