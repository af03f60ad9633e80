"""Accuracy as the surrogate sees it: the logarithm of its distance from a floor.

What compression takes away is a share of what training gave, and shares add up in logarithms. The
floor lies below the lowest accuracy, so that models at chance do not drown the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.arrays import Floats
from search.menu import Trial

FLOOR_MARGIN = 0.3
"""Distance of the floor from the lowest accuracy, as a share of the range of accuracies."""
LEAST_MARGIN = 0.01
UNKNOWN_VARIANCE = 0.25 / 1000
"""Of an accuracy's noise: that of a thousand examples."""


@dataclass(frozen=True)
class Transform:
    """From accuracies to values of the surrogate, and back.

    Args:
        lowest: The lowest accuracy so far, or that of guessing.
        margin: Distance of the floor below it.
    """

    lowest: float
    margin: float

    @classmethod
    def of(cls, history: list[Trial], guessing: float | None) -> Transform:
        """The transform that suits some trials."""
        reached = [trial.accuracy for trial in history if trial.accuracy is not None]
        low = min([*reached, *([] if guessing is None else [guessing])], default=0.0)
        spread = max(reached, default=low) - low
        return cls(low, max(LEAST_MARGIN, FLOOR_MARGIN * spread))

    @property
    def _floor(self) -> float:
        return self.lowest - self.margin

    def values(self, trials: list[Trial]) -> Floats:
        """Values of trials, ``(n,)``; a failed one counts as barely above the floor."""
        values: Floats = np.log(np.maximum(self._above(trials), self.margin / 5))
        return values

    def noise(self, trials: list[Trial]) -> Floats:
        """Variances of the noise of those values, ``(n,)``, from the evaluation set's size."""
        variances = [UNKNOWN_VARIANCE if t.variance is None else t.variance for t in trials]
        noise: Floats = np.array(variances) / np.maximum(self._above(trials), self.margin) ** 2
        return noise

    def noise_at(self, values: Floats) -> Floats:
        """Variances of the noise that trials with some values would have, of the same shape."""
        noise: Floats = UNKNOWN_VARIANCE / np.maximum(np.exp(values), self.margin) ** 2
        return noise

    def accuracy(self, values: Floats) -> Floats:
        """Accuracies of some values, of the same shape."""
        return np.minimum(np.exp(values) + self._floor, 1.0)

    def _above(self, trials: list[Trial]) -> Floats:
        reached = [self._floor if t.accuracy is None else t.accuracy for t in trials]
        above: Floats = np.array(reached, dtype=np.float64) - self._floor
        return above
