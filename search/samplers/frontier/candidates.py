"""The candidates that are compared: all of a small design space, a part of a large one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.arrays import Booleans, Floats, Integers
from search.samplers.frontier.design_space import DesignSpace
from search.samplers.frontier.history import Trial

LARGEST_COUNT = 4096
"""Candidates that are compared."""
LARGEST_WHOLE_WIDTH = 128
"""Compressions up to which a space is compared whole: covariances grow with their square."""
LARGEST_WIDTH = 32
"""Compressions that are compared of a larger space."""


@dataclass(frozen=True)
class Candidates:
    """Some runs under some compressions, each with each.

    Args:
        runs: Indices of the runs, ascending, ``(r,)``.
        compressions: Indices of the compressions, ascending, ``(c,)``.
        log_costs: As ``DesignSpace.log_costs``, ``(r, c)``.
        is_whole: Whether they are the whole design space.
    """

    runs: Integers
    compressions: Integers
    log_costs: Floats
    is_whole: bool


def choose_candidates(
    space: DesignSpace, history: list[Trial], tried: Booleans, rng: np.random.Generator
) -> Candidates:
    """All candidates of a small space; of a large one, a part of those that were not tried.

    Half of the part are the best so far and their neighbours, the others are random.

    Args:
        space: The design space.
        history: Trials so far.
        tried: Which candidates were tried, ``(runs, compressions)``.
        rng: Source of the random ones.
    """
    runs, compressions = np.arange(len(space.runs)), np.arange(len(space.compressions))
    is_small = len(runs) * len(compressions) <= LARGEST_COUNT
    if is_small and len(compressions) <= LARGEST_WHOLE_WIDTH:
        return Candidates(runs, compressions, space.log_costs(runs), is_whole=True)
    best = sorted(
        (trial for trial in history if trial.quality is not None),
        key=lambda trial: -(trial.quality or 0.0),
    )
    # The smallest model meets limits that a random part may not.
    near = [int(space.step_flops.argmin()), *_with_neighbours([trial.run for trial in best])]
    everywhere = np.ones(len(runs), dtype=bool)
    runs = _part(rng, everywhere, near, LARGEST_COUNT // LARGEST_WIDTH)
    costs = space.log_costs(runs)
    free = np.isfinite(costs) & ~tried[runs]
    near = _with_neighbours([trial.compression for trial in best])
    eligible: Booleans = np.any(free, axis=0)
    compressions = _part(rng, eligible, near, LARGEST_WIDTH)
    kept = free[:, compressions].any(1)
    if kept.any():
        runs, costs = runs[kept], costs[kept]
    return Candidates(runs, compressions, costs[:, compressions], is_whole=False)


def _with_neighbours(best: list[int]) -> list[int]:
    """Each of the best indices, followed by its neighbours."""
    return [near for index in best for near in (index, index - 1, index + 1)]


def _part(rng: np.random.Generator, eligible: Booleans, near: list[int], size: int) -> Integers:
    """Up to ``size`` eligible indices, half of them from ``near``; index 0 if none is eligible."""
    every = np.flatnonzero(eligible)
    if len(every) <= size:
        return every if len(every) else np.zeros(1, dtype=np.int64)
    inside = (index for index in near if 0 <= index < len(eligible) and eligible[index])
    kept = list(dict.fromkeys(inside))[: size // 2]
    drawn = rng.choice(np.setdiff1d(every, kept), size - len(kept), replace=False)
    return np.sort(np.concatenate([kept, drawn])).astype(np.int64)
