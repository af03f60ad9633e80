"""The design space: training runs, times the compressions of the model that each of them gives.

A candidate is a pair of indices, one of a run and one of a compression. A space of a million
configurations is a thousand runs and a thousand compressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from search.arrays import Booleans, Floats, Integers

LARGEST_COUNT = 4096
"""Candidates that are compared."""
LARGEST_WHOLE_WIDTH = 128
"""Compressions up to which a space is compared whole: covariances grow with their square."""
LARGEST_WIDTH = 32
"""Compressions that are compared of a larger space."""


@dataclass(frozen=True)
class DesignSpace:
    """All candidates of a search, and what is known of them before any trial.

    Args:
        runs: Features of each training run, ``(runs, p)``, in doublings.
        architecture: Index of its architecture, ``(runs,)``; runs of one are as fast.
        steps: Its budget, in steps, ``(runs,)``.
        depth: Its layers, ``(runs,)``.
        step_flops: FLOPs of one of its steps, up to a factor, ``(runs,)``.
        compressions: Features of each compression, ``(compressions, q)``; zeros for none.
        log_costs: Logarithm of the inference cost of some runs under every compression,
            ``(len(runs), compressions)``; NaN where there is no such configuration, or where it
            is known to exceed a limit.
        limits: Logarithms of the least cost and of the reference point's.
        baseline: Quality of guessing, where it is known.
        is_trained: Runs whose trained model is in the store, ``(runs,)``.
        has_stable_path: Runs whose stable path is in the store, ``(runs,)``.
        step_seconds: Seconds of one of its steps, where they were measured before the search,
            ``(runs,)``; infinite where it cannot be trained.
        recovery_steps: Steps that some runs train after pruning under every compression, each
            with the forward pass of its teacher as a part of a step,
            ``(len(runs), compressions)``; None if no compression has a recovery.
        stable_path: Index of its stable path, which runs share, ``(runs,)``; by default each
            architecture has one.
        settings: Whether each feature of runs that is a setting of training is in doublings; they
            are the last before those of kinds.
        kinds: How many features of runs tell kinds of models apart, such as activations; they are
            the last before those of checkpoints.
        checkpoints: How many of the last features of runs tell checkpoints apart.
        methods: How many of the last features of compressions tell methods apart.
        is_pretrained: Whether models are cut from a checkpoint.
        further_costs: Logarithms of further inference costs of some runs under every compression,
            ``(len(runs), compressions, costs)``; None where there are none.
        further_limits: As ``limits``, for each of them.
        further_baselines: As ``baseline``, for each further score.
        devices: Devices that the trials of each run occupy, ``(runs,)``, in those of the least;
            None where all occupy the same.
        earlier: How many of the last runs, and of the last compressions, are those of earlier
            searches alone: they have features, and no candidate is of them.
        at_least_as_large: Runs that need at least the memory of one of them, itself included.
        run_neighbours: Runs that differ from one by one value of one dimension.
        compression_neighbours: The same of compressions.
    """

    runs: Floats
    architecture: Integers
    steps: Floats
    depth: Floats
    step_flops: Floats
    compressions: Floats
    log_costs: Callable[[Integers], Floats]
    limits: tuple[float, float]
    baseline: float | None = None
    is_trained: Booleans | None = None
    has_stable_path: Booleans | None = None
    step_seconds: Floats | None = None
    recovery_steps: Callable[[Integers], Floats] | None = None
    stable_path: Integers | None = None
    settings: tuple[bool, ...] = ()
    kinds: int = 0
    checkpoints: int = 0
    methods: int = 0
    is_pretrained: bool = False
    further_costs: Callable[[Integers], Floats] | None = None
    further_limits: tuple[tuple[float, float], ...] = ()
    further_baselines: tuple[float | None, ...] = ()
    devices: Floats | None = None
    earlier: tuple[int, int] = (0, 0)
    at_least_as_large: Callable[[int], Sequence[int]] = lambda run: (run,)
    run_neighbours: Callable[[int], Iterable[int]] = lambda run: (run - 1, run + 1)
    compression_neighbours: Callable[[int], Iterable[int]] = lambda index: (index - 1, index + 1)

    @property
    def paths(self) -> Integers:
        """Index of the stable path of each run, ``(runs,)``."""
        return self.architecture if self.stable_path is None else self.stable_path

    @property
    def occupied(self) -> Floats:
        """``devices``, with ones where all runs occupy the same."""
        return np.ones(len(self.runs)) if self.devices is None else self.devices

    @property
    def sizes(self) -> tuple[int, int]:
        """Runs and compressions of candidates; they are the first."""
        return len(self.runs) - self.earlier[0], len(self.compressions) - self.earlier[1]

    def further(self, runs: Integers) -> Floats:
        """Logarithms of the further costs of some runs, ``(len(runs), compressions, costs)``."""
        if self.further_costs is None:
            return np.zeros((len(runs), len(self.compressions), 0))
        return self.further_costs(runs)

    def has(self, run: int, compression: int) -> bool:
        """Whether they are those of a candidate."""
        return run < self.sizes[0] and compression < self.sizes[1]


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
    space: DesignSpace,
    best: Sequence[tuple[int, int]],
    tried: Booleans,
    rng: np.random.Generator,
) -> Candidates:
    """The candidates that are compared: all of a small space, a part of a large one.

    Half of the part are the best so far and their neighbours in each dimension, the others are
    random.

    Args:
        best: The runs and compressions of complete trials, from the frontier on.
        tried: Which candidates were tried, ``(runs, compressions)``.
    """
    runs, compressions = map(np.arange, space.sizes)
    is_small = len(runs) * len(compressions) <= LARGEST_COUNT
    if is_small and len(compressions) <= LARGEST_WHOLE_WIDTH:
        costs = space.log_costs(runs)[:, compressions]
        return Candidates(runs, compressions, costs, is_whole=True)
    # The smallest model meets limits that a random part may not.
    near = [int(space.step_flops[runs].argmin())]
    for run, _ in best:
        near += [run, *space.run_neighbours(run)]
    width = min(len(compressions), LARGEST_WIDTH)
    runs = _part(rng, np.ones_like(runs, dtype=bool), near, LARGEST_COUNT // width)
    costs = space.log_costs(runs)
    free = np.isfinite(costs) & ~tried[runs]
    near = []
    for _, compression in best:
        near += [compression, *space.compression_neighbours(compression)]
    eligible: Booleans = np.any(free, axis=0)
    compressions = _part(rng, eligible, near, LARGEST_WIDTH)
    kept = free[:, compressions].any(1)
    if kept.any():
        runs, costs = runs[kept], costs[kept]
    return Candidates(runs, compressions, costs[:, compressions], is_whole=False)


def grid_neighbours(index: int, sizes: Sequence[int]) -> Iterator[int]:
    """Points of a grid that differ from one by one value of one dimension.

    Args:
        index: In row-major order.
        sizes: Values of each dimension.
    """
    stride = 1
    for size in reversed(sizes):
        value = index // stride % size
        yield from (index + k * stride for k in (-1, 1) if 0 <= value + k < size)
        stride *= size


def _part(rng: np.random.Generator, eligible: Booleans, near: list[int], size: int) -> Integers:
    """Up to ``size`` eligible indices, half of them from ``near``; index 0 if none is eligible."""
    every = np.flatnonzero(eligible)
    if len(every) <= size:
        return every if len(every) else np.zeros(1, dtype=np.int64)
    inside = (index for index in near if 0 <= index < len(eligible) and eligible[index])
    kept = list(dict.fromkeys(inside))[: size // 2]
    drawn = rng.choice(np.setdiff1d(every, kept), size - len(kept), replace=False)
    return np.sort(np.concatenate([kept, drawn])).astype(np.int64)
