"""The candidates that are compared: all of a small design space, a part of a large one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.arrays import Booleans, Floats, Integers
from search.samplers.frontier.design_space import DesignSpace, Trial

LARGEST_BLOCKS = 4096
"""Places that are compared."""
LARGEST_WHOLE_WIDTH = 128
"""Compressions up to which a design space is compared whole: covariances grow with their square."""
LARGEST_WIDTH = 32
"""Compressions that are compared of a larger design_space."""


@dataclass(frozen=True)
class Candidates:
    """Places that are compared: some runs under some compressions, each with each.

    Args:
        runs: Indices of the runs, ascending, ``(r,)``.
        compressions: Indices of the compressions, ascending, ``(c,)``.
        log_costs: As ``DesignSpace.log_costs``, ``(r, c)``.
        is_whole: Whether that is the whole design_space.
    """

    runs: Integers
    compressions: Integers
    log_costs: Floats
    is_whole: bool


def choose_candidates(
    design_space: DesignSpace, history: list[Trial], tried: Booleans, rng: np.random.Generator
) -> Candidates:
    """All of a small design space; of a large one, candidates that are still free.

    Half of the part are the best so far and their neighbours, the rest is random.

    Args:
        design_space: The design_space.
        history: Trials so far.
        tried: Which places were tried, ``(runs, compressions)``.
        rng: Source of the random rest.
    """
    runs, compressions = (
        np.arange(len(design_space.runs)),
        np.arange(len(design_space.compressions)),
    )
    is_small = len(runs) * len(compressions) <= LARGEST_BLOCKS
    if is_small and len(compressions) <= LARGEST_WHOLE_WIDTH:
        return Candidates(runs, compressions, design_space.log_costs(runs), is_whole=True)
    best = sorted(
        (trial for trial in history if trial.quality is not None),
        key=lambda trial: -(trial.quality or 0.0),
    )
    # The smallest model meets constraints that a random part may not.
    near = [int(design_space.step_flops.argmin()), *_near([trial.run for trial in best])]
    everywhere = np.ones(len(runs), dtype=bool)
    runs = _part(rng, everywhere, near, LARGEST_BLOCKS // LARGEST_WIDTH)
    costs = design_space.log_costs(runs)
    free = np.isfinite(costs) & ~tried[runs]
    near = _near([trial.compression for trial in best])
    offered: Booleans = np.any(free, axis=0)
    compressions = _part(rng, offered, near, LARGEST_WIDTH)
    kept = free[:, compressions].any(1)
    if kept.any():
        runs, costs = runs[kept], costs[kept]
    return Candidates(runs, compressions, costs[:, compressions], is_whole=False)


def _near(best: list[int]) -> list[int]:
    """The best places and their neighbours, the best first."""
    return [place for index in best for place in (index, index - 1, index + 1)]


def _part(rng: np.random.Generator, eligible: Booleans, near: list[int], size: int) -> Integers:
    """Up to ``size`` of the eligible indices, half of them from those named first; index 0 where
    none is eligible."""
    every = np.flatnonzero(eligible)
    if len(every) <= size:
        return every if len(every) else np.zeros(1, dtype=np.int64)
    inside = (place for place in near if 0 <= place < len(eligible) and eligible[place])
    kept = list(dict.fromkeys(inside))[: size // 2]
    drawn = rng.choice(np.setdiff1d(every, kept), size - len(kept), replace=False)
    return np.sort(np.concatenate([kept, drawn])).astype(np.int64)
