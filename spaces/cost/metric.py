"""What a task is scored by: its name, its direction, and how good a value is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

MetricName = Literal["accuracy", "perplexity", "bleu"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A score of models, in the unit in which its field states it.

    Args:
        name: ``accuracy`` (a share), ``perplexity`` (per token) or ``bleu`` (0 to 100).
        guessing: Value of a model that guesses.
        perfect: Value of a model that is always right.
    """

    name: MetricName
    guessing: float
    perfect: float

    @property
    def is_maximised(self) -> bool:
        """Whether more is better."""
        return self.perfect > self.guessing

    def share(self, value: float) -> float:
        """How good a value is: 1 for perfection, falling to 0 for guessing and beyond.

        Accuracy is its own share, so that chance is at ``floor`` and not at 0. Perplexity counts
        by its logarithm, the cross-entropy: the share of the bits of a uniform guess that the
        model saves.
        """
        if self.name == "perplexity":
            return 1.0 - math.log(value) / math.log(self.guessing)
        return value / self.perfect

    def value(self, share: float) -> float:
        """Inverse of ``share``."""
        if self.name == "perplexity":
            return math.exp((1.0 - share) * math.log(self.guessing))
        return share * self.perfect

    def gained(self, value: float) -> float:
        """Share of the way from guessing (0) to perfection (1)."""
        return (self.share(value) - self.floor) / (1.0 - self.floor)

    @property
    def floor(self) -> float:
        """Share of guessing."""
        return self.share(self.guessing)

    def text(self, value: float) -> str:
        """A value as people write it."""
        return text(self.name, value)


def text(metric: str, value: float) -> str:
    """A value of a metric, given by its name, as people write it."""
    formats = {"accuracy": ".3f", "perplexity": ".4g", "bleu": ".1f"}
    return format(value, formats[metric])


def accuracy(classes: int) -> Metric:
    """Share of examples answered correctly, of so many classes."""
    return Metric("accuracy", guessing=1.0 / classes, perfect=1.0)


def perplexity(vocabulary_size: int) -> Metric:
    """Perplexity per token: the exponential of the mean cross-entropy in nats."""
    return Metric("perplexity", guessing=float(vocabulary_size), perfect=1.0)


def bleu() -> Metric:
    """BLEU (Papineni et al. 2002), 0 to 100."""
    return Metric("bleu", guessing=0.0, perfect=100.0)
