"""How many trials of a space can train side by side.

Budgets of one architecture, with the same settings of training, share a stable path: one trains
while the others wait for it. Compressions of a trained model run beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from spaces.cost.configuration import Configuration
from spaces.grid.search_space import SearchSpace

MOST_EXAMINED = 20_000
"""Configurations of a space up to which its paths are counted."""


def stable_paths(configurations: Iterable[Configuration]) -> int:
    """Stable paths of some configurations."""
    return len({each.stable_path for each in configurations})


def open_paths(space: SearchSpace, tried: Collection[Configuration]) -> int | None:
    """Stable paths with a feasible configuration that was not tried; None of a large space."""
    if space.configurations > MOST_EXAMINED:
        return None
    hashes = {each.hash for each in tried}
    every = map(space.configuration, space.points())
    return stable_paths(c for c in every if c.hash not in hashes and space.is_feasible(c))


def idle_line(at_a_time: int, paths: int) -> str:
    """That trials beyond the number of paths would idle; empty where there are as many paths."""
    if at_a_time <= paths:
        return ""
    return (
        f"of {at_a_time:,} trials at a time at most {paths:,} train, and {at_a_time - paths:,} "
        f"workers idle: the space has {paths:,} stable paths left (an architecture with its "
        "settings of training), and budgets of one path train one after another; compressions of "
        "trained models run beside them"
    )
