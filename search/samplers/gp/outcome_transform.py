"""Qualities scaled to the range in which the Gaussian process models them.

0 is the quality of guessing, 1 the best quality so far. Qualities are not taken in logarithms,
although compression acts more like a factor than like a difference: a single failed run would then
widen the predictions so far that many candidates would be expected to beat the best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.arrays import Floats

LOWEST_VALUE = -0.25
"""Values below this one, of models worse than guessing, are clipped to it."""
LEAST_RANGE = 0.03
USUAL_RANGE = 0.3
"""Range of qualities while all of them are equal."""
UNKNOWN_EXAMPLES = 1000.0
"""Evaluation examples where no trial reports their number."""
LEAST_VARIANCE = 0.01
"""Of one evaluation example: qualities near 0 or 1 are not exact either."""


@dataclass(frozen=True)
class OutcomeTransform:
    """An affine map from qualities to values of the Gaussian process, and back.

    Args:
        lowest: Quality of guessing, or the lowest quality so far where guessing is unknown.
        range: Difference between that and the best quality.
        examples: Evaluation examples, which the noise of qualities follows from.
    """

    lowest: float
    range: float
    examples: float

    @classmethod
    def fit(
        cls, qualities: Floats, examples: list[int], baseline: float | None
    ) -> OutcomeTransform:
        """Fit the transform to the qualities and evaluation examples of complete trials.

        Args:
            baseline: Quality of guessing, where it is known.
        """
        # Some metrics have no lower end: one broken model would make all others look alike.
        low = float(min(qualities, default=0.0)) if baseline is None else baseline
        found = float(max(qualities, default=low)) - low
        return cls(
            lowest=low,
            range=max(LEAST_RANGE, found) if found > 0.0 else USUAL_RANGE,
            examples=float(np.median(examples)) if examples else UNKNOWN_EXAMPLES,
        )

    def values(self, qualities: Floats) -> Floats:
        """Transform qualities; minus infinity stands for a failed trial."""
        return np.maximum((qualities - self.lowest) / self.range, LOWEST_VALUE)

    def noise(self, values: Floats) -> Floats:
        """Variances of the evaluation noise at values: binomial in the examples."""
        quality = self.quality(values)
        variance = np.maximum(quality * (1.0 - quality), LEAST_VARIANCE) / self.examples
        return variance / self.range**2

    def quality(self, values: Floats) -> Floats:
        """Inverse transform, from values to qualities."""
        return np.clip(self.lowest + self.range * values, min(0.0, self.lowest), 1.0)
