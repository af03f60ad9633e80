"""Small design spaces for the tests of samplers."""

from __future__ import annotations

import numpy as np

from search.samplers.frontier.design_space import DesignSpace
from search.samplers.frontier.features import compression_features, training_features
from search.samplers.gp.kernel import Features

LIMITS = (0.0, 1.0)


def grid() -> tuple[Features, int]:
    """Three architectures at two budgets, each under four compressions."""
    depth, width, steps = np.meshgrid([1.0, 2.0, 4.0], [64.0], [100.0, 200.0], indexing="ij")
    runs = training_features(
        depth=depth.ravel(),
        width=width.ravel(),
        steps=steps.ravel(),
        heads=width.ravel(),
        feed_forward=width.ravel(),
    )
    compressions = compression_features(
        bits=np.array([32.0, 8.0, 4.0, 4.0]),
        group_size=np.full(4, 32.0),
        is_static=np.zeros(4),
        structured=np.array([0.0, 0.0, 0.0, 0.5]),
        unstructured=np.zeros(4),
    )
    run = np.repeat(np.arange(6), 4)
    return Features(runs[run], np.tile(compressions, (6, 1)), run), 4


def design_space() -> DesignSpace:
    """Two architectures at three budgets; the second has four times the FLOPs."""
    return DesignSpace(
        runs=np.zeros((6, 1)),
        architecture=np.array([0, 0, 0, 1, 1, 1]),
        steps=np.array([100.0, 200.0, 400.0] * 2),
        depth=np.array([1.0] * 3 + [4.0] * 3),
        step_flops=np.array([1e9] * 3 + [4e9] * 3),
        compressions=np.zeros((1, 1)),
        log_costs=lambda runs: np.zeros((len(runs), 1)),
        limits=LIMITS,
    )
