"""Loss curves of architectures, and their losses at common levels of compute or steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from search.analysis.claims.observations import Run
from search.analysis.claims.resampling import Resampled
from search.arrays import Floats
from spaces.cost.architecture import Architecture

Axis = Literal["training_flops", "steps"]
T = TypeVar("T")

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
        losses: ``(1 + DRAWS, budgets)``.
    """

    run: Run
    x: Floats
    losses: Floats

    @property
    def architecture(self) -> Architecture:
        """The architecture of all its runs."""
        return self.run.architecture

    @property
    def parameters(self) -> int:
        """All parameters of the architecture."""
        return self.run.parameters

    def reaches(self, level: float) -> bool:
        """Whether its budgets reach from one side of a level to the other."""
        x = np.log2(level)
        return bool(self.x[0] - TOLERANCE <= x <= self.x[-1] + TOLERANCE)

    def at(self, level: float) -> Floats:
        """Loss at a level that it reaches, ``(1 + DRAWS,)``.

        Between two budgets the loss is taken to be straight over the logarithm of training: where
        losses fall as power laws that is a little too high, for all architectures alike.
        """
        if len(self.x) == 1:
            return self.losses[:, 0]
        x = np.clip(np.log2(level), self.x[0], self.x[-1])
        right = int(np.clip(np.searchsorted(self.x, x), 1, len(self.x) - 1))
        weight = (x - self.x[right - 1]) / (self.x[right] - self.x[right - 1])
        return np.asarray(
            (1.0 - weight) * self.losses[:, right - 1] + weight * self.losses[:, right]
        )


def curves(data: Resampled, axis: Axis) -> list[Curve]:
    """The curve of each architecture, by size."""
    made = []
    for architecture in data.architectures:
        cells = [k for k, run in enumerate(data.cells) if run.architecture == architecture]
        cells.sort(key=lambda k: getattr(data.cells[k], axis))
        values = np.array([getattr(data.cells[k], axis) for k in cells], dtype=np.float64)
        made.append(Curve(data.cells[cells[0]], np.log2(values), data.loss[:, cells]))
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


def thinned(values: Sequence[T], most: int = MOST_LEVELS) -> list[T]:
    """At most ``most`` of the values, evenly spread, with the first and the last."""
    if len(values) <= most:
        return list(values)
    return [values[round(k * (len(values) - 1) / (most - 1))] for k in range(most)]
