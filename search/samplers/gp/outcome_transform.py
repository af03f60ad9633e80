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
"""Evaluation examples where no trial reports an error."""
LEAST_VARIANCE = 0.01
"""Of one of them: qualities near 0 or 1 are not exact either."""
LEAST_ERROR = 1e-3
"""Standard errors below this one are no more exact in fact."""


@dataclass(frozen=True)
class OutcomeTransform:
    """An affine map from qualities to values of the Gaussian process, and back.

    Args:
        lowest: Quality of guessing, or the lowest quality so far where guessing is unknown.
        range: Difference between that and the best quality.
        error: Median standard error of a quality; None where no trial reports one.
    """

    lowest: float
    range: float
    error: float | None

    @classmethod
    def fit(cls, qualities: Floats, errors: Floats, baseline: float | None) -> OutcomeTransform:
        """Fit the transform to complete trials.

        Args:
            errors: Standard errors of their qualities; NaN where unknown.
            baseline: Quality of guessing, where it is known.
        """
        # Some metrics have no lower end: one broken model would make all others look alike.
        low = float(min(qualities, default=0.0)) if baseline is None else baseline
        found = float(max(qualities, default=low)) - low
        return cls(
            lowest=low,
            range=max(LEAST_RANGE, found) if found > 0.0 else USUAL_RANGE,
            error=None if np.isnan(errors).all() else float(np.nanmedian(errors)),
        )

    def values(self, qualities: Floats) -> Floats:
        """Transform qualities; minus infinity stands for a failed trial."""
        return np.maximum((qualities - self.lowest) / self.range, LOWEST_VALUE)

    def noise(self, values: Floats, errors: Floats | None = None) -> Floats:
        """Variances of the evaluation noise of values.

        Args:
            errors: Standard errors of their qualities. Those that are NaN, or all where it is not
                given, are the median of the others, or binomial where none is known.
        """
        if self.error is None:
            quality = self.quality(values)
            usual = np.maximum(quality * (1.0 - quality), LEAST_VARIANCE) / UNKNOWN_EXAMPLES
        else:
            usual = np.full_like(values, max(self.error, LEAST_ERROR) ** 2)
        if errors is not None:
            usual = np.where(np.isnan(errors), usual, np.maximum(errors, LEAST_ERROR) ** 2)
        return usual / self.range**2

    def quality(self, values: Floats) -> Floats:
        """Inverse transform, from values to qualities."""
        return np.clip(self.lowest + self.range * values, min(0.0, self.lowest), 1.0)
