"""The design space: training runs, times the compressions of the model that each of them gives.

A candidate is a pair of indices, one of a run and one of a compression. A space of a million
configurations is a thousand runs and a thousand compressions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from search.arrays import Booleans, Floats, Integers


@dataclass(frozen=True)
class DesignSpace:
    """The candidates of a search, and what is known of them before any trial.

    Args:
        runs: Features of each training run, ``(runs, p)``, in doublings.
        architecture: Index of its architecture, ``(runs,)``; runs of one share a stable path.
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
        recovery_steps: Steps that some runs train after pruning under every compression,
            ``(len(runs), compressions)``; None if no compression has a recovery.
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
    recovery_steps: Callable[[Integers], Floats] | None = None
