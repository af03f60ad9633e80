"""Quality as the surrogate sees it: the logarithm of its distance from a floor.

Quality is the share that a metric makes of a score (``Metric.share``): for accuracy, itself.

What compression takes away is a share of what training gave, and shares add up in logarithms. The
floor lies below the lowest quality, so that models at chance do not drown the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.arrays import Floats
from search.menu import Trial

FLOOR_MARGIN = 0.3
"""Distance of the floor from the lowest quality, as a share of the range of qualities."""
LEAST_MARGIN = 0.01
UNKNOWN_EXAMPLES = 1000.0
"""Evaluation examples where trials do not tell."""
LEAST_VARIANCE = 0.01
"""Of one example's answer: qualities near 0 or 1 are not taken to be exact."""


@dataclass(frozen=True)
class Transform:
    """From qualities to values of the surrogate, and back.

    Args:
        lowest: That of guessing, or the lowest quality so far where guessing is not known.
        margin: Distance of the floor below it.
        examples: Evaluation examples, from which the noise of qualities follows.
    """

    lowest: float
    margin: float
    examples: float

    @classmethod
    def of(cls, history: list[Trial], guessing: float | None) -> Transform:
        """The transform that suits some trials."""
        reached = [trial.quality for trial in history if trial.quality is not None]
        # Some metrics have no lower end: one broken model would make all others look alike.
        low = min(reached, default=0.0) if guessing is None else guessing
        spread = max(reached, default=low) - low
        told = [trial.examples for trial in history if trial.examples]
        examples = float(np.median(told)) if told else UNKNOWN_EXAMPLES
        return cls(low, max(LEAST_MARGIN, FLOOR_MARGIN * spread), examples)

    @property
    def _floor(self) -> float:
        return self.lowest - self.margin

    def values(self, trials: list[Trial]) -> Floats:
        """Values of trials, ``(n,)``; a failed one counts as barely above the floor."""
        reached = [self._floor if t.quality is None else t.quality for t in trials]
        above = np.array(reached, dtype=np.float64) - self._floor
        values: Floats = np.log(np.maximum(above, self.margin / 5))
        return values

    def noise(self, trials: list[Trial]) -> Floats:
        """Variances of the noise of those values, ``(n,)``."""
        return self.noise_at(self.values(trials))

    def noise_at(self, values: Floats) -> Floats:
        """Variances of the noise that trials with some values have, of the same shape: those of a
        share of the evaluation examples (binomial)."""
        quality = self.quality(values)
        variance = np.maximum(quality * (1.0 - quality), LEAST_VARIANCE) / self.examples
        noise: Floats = variance / np.maximum(np.exp(values), self.margin) ** 2
        return noise

    def quality(self, values: Floats) -> Floats:
        """Qualities of some values, of the same shape."""
        return np.clip(np.exp(values) + self._floor, min(0.0, self.lowest), 1.0)
