"""Which places of a menu are compared: all of a small menu, a part of a large one."""

from __future__ import annotations

import numpy as np

from search.arrays import Integers
from search.menu import Menu, Trial

LARGEST_BLOCKS = 4096
"""Places that are compared."""
LARGEST_WIDTH = 32
"""Compressions among them, where they are a part."""


def choose_candidates(menu: Menu, history: list[Trial], seed: int) -> tuple[Integers, Integers]:
    """Runs and compressions that are compared, each with each.

    Of a large menu, half of them are the best so far and their neighbours, and the rest is random
    and another one whenever the history has grown.
    """
    runs, compressions = np.arange(len(menu.runs)), np.arange(len(menu.compressions))
    if len(runs) * len(compressions) <= LARGEST_BLOCKS:
        return runs, compressions
    rng = np.random.default_rng([seed, len(history)])
    best = sorted(
        (trial for trial in history if trial.accuracy is not None),
        key=lambda trial: -(trial.accuracy or 0.0),
    )
    compressions = _part(rng, len(compressions), [t.compression for t in best], LARGEST_WIDTH)
    runs = _part(rng, len(runs), [t.run for t in best], LARGEST_BLOCKS // len(compressions))
    return runs, compressions


def _part(rng: np.random.Generator, count: int, best: list[int], size: int) -> Integers:
    if count <= size:
        return np.arange(count)
    chosen = dict.fromkeys(
        place for index in best for place in (index, index - 1, index + 1) if 0 <= place < count
    )
    kept = list(chosen)[: size // 2]
    rest = np.setdiff1d(np.arange(count), kept)
    return np.sort(
        np.concatenate([kept, rng.choice(rest, size - len(kept), replace=False)])
    ).astype(np.int64)
