"""What could be done next: what each candidate promises, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.arrays import Booleans, Floats, Integers


@dataclass(frozen=True)
class Proposal:
    """What to do next.

    Args:
        run: The training run.
        compression: The compression.
        rate: Expected hypervolume gained per second, in quality times log10 of cost.
    """

    run: int
    compression: int
    rate: float


@dataclass(frozen=True)
class Proposals:
    """What each candidate promises and costs.

    Args:
        runs: Training runs that are compared, ``(r,)``.
        compressions: Compressions that are compared, ``(c,)``.
        gain: Expected hypervolume gained, ``(r, c)``, in quality times log10 of cost; minus
            infinity where there is no such candidate. A run that is not trained yet stands at one
            of its compressions, for all that it would gain with them together.
        seconds: What that takes, ``(r, c)``.
        quality: Samples of what each may reach, ``(samples, r, c)``.
        trained: Which runs have their trained model, ``(r,)``.
    """

    runs: Integers
    compressions: Integers
    gain: Floats
    seconds: Floats
    quality: Floats
    trained: Booleans

    @property
    def rate(self) -> Floats:
        """Expected gain per second, ``(r, c)``."""
        ratio: Floats = self.gain / self.seconds
        return ratio

    def best(self) -> Proposal | None:
        """The candidate with the greatest rate; None where there is no candidate."""
        rate = self.rate
        block, column = np.unravel_index(int(rate.argmax()), rate.shape)
        if not rate[block, column] >= 0.0:
            return None
        return Proposal(
            run=int(self.runs[block]),
            compression=int(self.compressions[column]),
            rate=float(rate[block, column]),
        )
