"""Quality as the surrogate sees it: from 0 for guessing to 1 for the best so far.

Quality is the share that a metric makes of a score (``Metric.share``): for accuracy, itself. It is
not taken in logarithms, although what compression takes away is closer to a share than to an
amount: one run that failed would then let the surrogate expect as many to surpass the best by far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.arrays import Floats
from search.samplers.frontier.design_space import Trial

LOWEST_VALUE = -0.25
"""Worse than guessing is not told apart any further."""
LEAST_RANGE = 0.03
USUAL_RANGE = 0.3
"""Range of qualities before there are any that differ."""
UNKNOWN_EXAMPLES = 1000.0
"""Evaluation examples where trials do not tell."""
LEAST_VARIANCE = 0.01
"""Of one example's answer: qualities near 0 or 1 are not taken to be exact."""


@dataclass(frozen=True)
class OutcomeTransform:
    """From qualities to values of the surrogate, and back.

    Args:
        lowest: That of guessing, or the lowest quality so far where guessing is not known.
        range: From there to the best.
        examples: Evaluation examples, from which the noise of qualities follows.
    """

    lowest: float
    range: float
    examples: float

    @classmethod
    def of(cls, history: list[Trial], guessing: float | None) -> OutcomeTransform:
        """The transform that suits some trials."""
        reached = [trial.quality for trial in history if trial.quality is not None]
        # Some metrics have no lower end: one broken model would make all others look alike.
        low = min(reached, default=0.0) if guessing is None else guessing
        found = max(reached, default=low) - low
        told = [trial.examples for trial in history if trial.examples]
        examples = float(np.median(told)) if told else UNKNOWN_EXAMPLES
        return cls(low, max(LEAST_RANGE, found) if found > 0.0 else USUAL_RANGE, examples)

    def values(self, trials: list[Trial]) -> Floats:
        """Values of trials, ``(n,)``; a failed one counts as worse than guessing."""
        reached = [-np.inf if trial.quality is None else trial.quality for trial in trials]
        above = (np.array(reached, dtype=np.float64) - self.lowest) / self.range
        values: Floats = np.maximum(above, LOWEST_VALUE)
        return values

    def noise(self, trials: list[Trial]) -> Floats:
        """Variances of the noise of those values, ``(n,)``."""
        return self.noise_at(self.values(trials))

    def noise_at(self, values: Floats) -> Floats:
        """Variances of the noise that trials with some values have, of the same shape: those of a
        share of the evaluation examples (binomial)."""
        quality = self.quality(values)
        variance = np.maximum(quality * (1.0 - quality), LEAST_VARIANCE) / self.examples
        noise: Floats = variance / self.range**2
        return noise

    def quality(self, values: Floats) -> Floats:
        """Qualities of some values, of the same shape."""
        return np.clip(self.lowest + self.range * values, min(0.0, self.lowest), 1.0)
