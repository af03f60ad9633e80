"""Which places of a menu are compared: all of a small menu, a part of a large one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.arrays import Booleans, Floats, Integers
from search.samplers.frontier.design_space import Menu, Trial

LARGEST_BLOCKS = 4096
"""Places that are compared."""
LARGEST_WHOLE_WIDTH = 128
"""Compressions up to which a menu is compared whole: covariances grow with their square."""
LARGEST_WIDTH = 32
"""Compressions that are compared of a larger menu."""


@dataclass(frozen=True)
class Candidates:
    """Places that are compared: some runs under some compressions, each with each.

    Args:
        runs: Indices of the runs, ascending, ``(r,)``.
        compressions: Indices of the compressions, ascending, ``(c,)``.
        log_costs: As ``Menu.log_costs``, ``(r, c)``.
        is_whole: Whether that is the whole menu.
    """

    runs: Integers
    compressions: Integers
    log_costs: Floats
    is_whole: bool


def choose_candidates(
    menu: Menu, history: list[Trial], tried: Booleans, rng: np.random.Generator
) -> Candidates:
    """All of a small menu; of a large one, places that are still free.

    Half of the part are the best so far and their neighbours, the rest is random.

    Args:
        menu: The menu.
        history: Trials so far.
        tried: Which places were tried, ``(runs, compressions)``.
        rng: Source of the random rest.
    """
    runs, compressions = np.arange(len(menu.runs)), np.arange(len(menu.compressions))
    is_small = len(runs) * len(compressions) <= LARGEST_BLOCKS
    if is_small and len(compressions) <= LARGEST_WHOLE_WIDTH:
        return Candidates(runs, compressions, menu.log_costs(runs), is_whole=True)
    best = sorted(
        (trial for trial in history if trial.quality is not None),
        key=lambda trial: -(trial.quality or 0.0),
    )
    # The smallest model meets constraints that a random part may not.
    near = [int(menu.work.argmin()), *_near([trial.run for trial in best])]
    everywhere = np.ones(len(runs), dtype=bool)
    runs = _part(rng, everywhere, near, LARGEST_BLOCKS // LARGEST_WIDTH)
    costs = menu.log_costs(runs)
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
