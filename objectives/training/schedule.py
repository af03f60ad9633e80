"""Learning rates: warm-up, a stable plateau, a decay, and the rule that scales them with width."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

BASE_WIDTH = 128
"""Width for which the learning rate of a search file is given."""


LearningRateSchedule = Callable[[int], float]
"""The learning rate as a fraction of its peak, 0 to 1, at a step counted from 0."""


@dataclass(frozen=True, slots=True)
class WarmupStable:
    """Linear warm-up, then constant: independent of the budget, so all budgets share the path.

    The warm-up–stable–decay schedule of Hu et al. 2024 (arXiv 2404.06395), section 4.
    """

    warmup_steps: int

    def __call__(self, step: int) -> float:
        """Fraction of the peak at a step counted from 0."""
        return min(1.0, (step + 1) / self.warmup_steps)


@dataclass(frozen=True, slots=True)
class Decay:
    """From the peak to zero as ``1 - sqrt(step / steps)``.

    The best of the decays that Hägele et al. 2024 (arXiv 2405.18392), section 4, compared.
    """

    steps: int

    def __call__(self, step: int) -> float:
        """Fraction of the peak at a step counted from 0."""
        return 1.0 - math.sqrt((step + 1) / (self.steps + 1))


@dataclass(frozen=True, slots=True)
class WarmupDecay:
    """Linear warm-up over a tenth of the steps, then linear decay: fine-tuning as usual.

    The schedule of Devlin et al. 2019 (arXiv 1810.04805), appendix A.2 and A.3.
    """

    steps: int

    def __call__(self, step: int) -> float:
        """Fraction of the peak at a step counted from 0."""
        warmup = max(1, self.steps // 10)
        return min((step + 1) / warmup, (self.steps - step) / (self.steps - warmup + 1))


def matrix_scale(width: int) -> float:
    """Factor of the learning rate of weight matrices at ``width``.

    Adam's learning rate for hidden matrices goes with 1 / width (Yang et al. 2022, arXiv
    2203.03466, table 8); vectors and embeddings keep theirs.
    """
    return BASE_WIDTH / width
