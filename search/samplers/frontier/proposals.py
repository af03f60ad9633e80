"""The candidates that could be tried next: the expected gain of each, and its seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.arrays import Booleans, Floats, Integers


@dataclass(frozen=True)
class Proposal:
    """The candidate to try next.

    Args:
        run: Index of the training run.
        compression: Index of the compression.
        rate: Expected hypervolume gained per second, in quality times log10 of cost.
    """

    run: int
    compression: int
    rate: float


@dataclass(frozen=True)
class Proposals:
    """The candidates that are compared, with their expected gains and costs.

    Args:
        runs: Indices of their training runs, ``(r,)``.
        compressions: Indices of their compressions, ``(c,)``.
        gain: Expected hypervolume gained, ``(r, c)``, in quality times log10 of cost; minus
            infinity where a candidate cannot be tried. A run that is not trained yet has one
            entry, for the gain of all its compressions together.
        seconds: Seconds of the work that gives it, ``(r, c)``.
        quality: Samples of the quality of each, ``(samples, r, c)``.
        trained: Runs that have a trained model, ``(r,)``.
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
        return self.gain / self.seconds

    def best(self) -> Proposal | None:
        """The candidate with the greatest rate; None where no candidate can be tried."""
        rate = self.rate
        row, column = np.unravel_index(int(rate.argmax()), rate.shape)
        if not rate[row, column] >= 0.0:
            return None
        return Proposal(
            run=int(self.runs[row]),
            compression=int(self.compressions[column]),
            rate=float(rate[row, column]),
        )
