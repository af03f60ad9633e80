"""Loss curves of architectures, and their losses at common levels of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from search.analysis.claims.measurements import Measurements
from search.analysis.claims.observations import Run
from search.arrays import Floats, Integers
from spaces.cost.architecture import Architecture
from spaces.cost.units import quantity

Axis = Literal["training_flops", "steps", "seconds"]
T = TypeVar("T")

AXIS_NAMES: dict[Axis, str] = {
    "training_flops": "training FLOPs",
    "steps": "steps of training",
    "seconds": "seconds of training",
}
"""Labels of the axes in figures."""

TOLERANCE = 0.05
"""In log2: budgets in FLOPs are rounded to whole steps, which differ between architectures."""
MOST_LEVELS = 5
LARGER = 1.2
"""Two sizes differ when the parameters of one are this many times those of the other."""


@dataclass(frozen=True)
class Curve:
    """Loss of one architecture over its budgets.

    Args:
        run: One of its runs.
        x: log2 of the axis at its budgets, ascending, ``(budgets,)``.
        cells: Of its budgets, ``(budgets,)``.
        logs: Logarithm of the loss, ``(seeds, budgets)``.
    """

    run: Run
    x: Floats
    cells: Integers
    logs: Floats

    @property
    def architecture(self) -> Architecture:
        """The architecture of all its runs."""
        return self.run.architecture

    @property
    def parameters(self) -> int:
        """All parameters of the architecture."""
        return self.run.parameters

    @property
    def losses(self) -> Floats:
        """Geometric mean of the loss over seeds, ``(budgets,)``."""
        return np.asarray(np.exp(self.logs.mean(axis=0)))

    def reaches(self, level: float) -> bool:
        """Whether its budgets reach from one side of a level to the other."""
        x = np.log2(level)
        return bool(self.x[0] - TOLERANCE <= x <= self.x[-1] + TOLERANCE)

    def weights(self, level: float) -> Floats:
        """Weights of its budgets in the loss at a level that it reaches, ``(budgets,)``.

        Between two budgets, the logarithm of the loss is taken to be straight over that of
        training: losses fall as power laws.
        """
        weights = np.zeros(len(self.x))
        if len(self.x) == 1:
            weights[0] = 1.0
            return weights
        x = np.clip(np.log2(level), self.x[0], self.x[-1])
        right = int(np.clip(np.searchsorted(self.x, x), 1, len(self.x) - 1))
        weights[right] = (x - self.x[right - 1]) / (self.x[right] - self.x[right - 1])
        weights[right - 1] = 1.0 - weights[right]
        return weights

    def at(self, level: float) -> Floats:
        """Logarithm of the loss at a level that it reaches, ``(seeds,)``."""
        return np.asarray(self.logs @ self.weights(level))


def curves(data: Measurements, axis: Axis) -> list[Curve]:
    """The curve of each architecture, by size."""
    values = {
        "training_flops": data.training_flops,
        "steps": np.array([run.steps for run in data.cells], dtype=np.float64),
        "seconds": data.seconds,
    }[axis]
    made = []
    for index in range(len(data.architectures)):
        cells = np.flatnonzero(data.architecture_of == index)
        cells = cells[np.argsort(values[cells], kind="stable")]
        # Of two budgets that took as long, the interpolation can use only one.
        cells = cells[np.append(True, np.diff(values[cells]) > 0)]
        logs = np.log(data.losses[:, cells])
        made.append(Curve(data.cells[cells[0]], np.log2(values[cells]), cells, logs))
    return made


def common_levels(lines: Sequence[Curve], *, least_ratio: float = LARGER) -> list[float]:
    """Levels that curves of different sizes reach, ascending.

    The largest has ``least_ratio`` times the parameters of the smallest, or more.

    Levels are where some run ends, so that one curve at least needs no interpolation; those that
    few curves reach, fewer than half of the best level's, are left out.
    """
    ends = sorted({float(x) for line in lines for x in line.x})
    apart = [x for k, x in enumerate(ends) if k == 0 or x - ends[k - 1] > TOLERANCE]
    reaching = {x: [line.parameters for line in lines if line.reaches(2**x)] for x in apart}
    compared = {
        x: len(sizes)
        for x, sizes in reaching.items()
        if len(sizes) > 1 and max(sizes) >= least_ratio * min(sizes)
    }
    most = max(compared.values(), default=0)
    return [float(2**x) for x, n in compared.items() if 2 * n > most]


def level_name(level: float, axis: Axis) -> str:
    """A level with its unit."""
    if axis == "steps":
        return f"{round(level):,} steps"
    return f"{level:.3g} s" if axis == "seconds" else f"{count(level)}FLOP"


def count(number: float) -> str:
    """A count with its SI prefix, to three digits: ``1.25M``."""
    return quantity(number).replace(" ", "")


def thinned(values: Sequence[T], most: int = MOST_LEVELS) -> list[T]:
    """At most ``most`` of the values, evenly spread, with the first and the last."""
    if len(values) <= most:
        return list(values)
    return [values[round(k * (len(values) - 1) / (most - 1))] for k in range(most)]
