"""The order of training rows, as functions of seed and step: a resumed run reads the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
"""Indices of examples, ``(batch,)``."""

POOL_BATCHES = 32
"""Most batches that are sorted by length together, so that little of each is padding."""


def generator(seed: int, stream: int, counter: int) -> np.random.Generator:
    """Random numbers of one purpose and step; counter-based (Salmon et al. 2011)."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, counter]))


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> Rows:
    return generator(seed, 0, epoch).permutation(count)


def shuffled_rows(seed: int, step: int, batch_size: int, count: int) -> Rows:
    """Rows of the batch of a step; each epoch has every row once, in its own order."""
    positions = range(step * batch_size, (step + 1) * batch_size)
    return np.asarray([_permutation(seed, p // count, count)[p % count] for p in positions])


class BucketedRows:
    """Rows of batches whose examples have similar lengths; each epoch has every row once."""

    def __init__(self, lengths: npt.NDArray[np.int32], batch_size: int, seed: int) -> None:
        self._lengths = np.asarray(lengths)
        self._batch_size = batch_size
        self._seed = seed
        # A pool of several epochs would put rows twice into a batch, and others off for long.
        self._batches = max(1, min(POOL_BATCHES, len(self._lengths) // batch_size))
        self._pool = lru_cache(maxsize=2)(self._sorted_pool)

    def __call__(self, step: int) -> Rows:
        """Rows of the batch of a step."""
        rows: Rows = self._pool(step // self._batches)[step % self._batches]
        return rows

    def _sorted_pool(self, pool: int) -> Rows:
        size = self._batches * self._batch_size
        rows = shuffled_rows(self._seed, pool, size, len(self._lengths))
        rows = rows[np.argsort(self._lengths[rows], kind="stable")]
        batches = rows.reshape(self._batches, self._batch_size)
        return batches[generator(self._seed, 2, pool).permutation(self._batches)]


def rows_by_length(lengths: npt.NDArray[np.int32], batch_size: int) -> Iterator[Rows]:
    """Rows of all examples once, in batches of similar lengths, for evaluation."""
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
