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

    def quality(self, value: float) -> float:
        """How good a value is: 1 for perfection, falling to 0 for guessing and beyond.

        Accuracy is its own quality, so that a guess has the quality ``guessing_quality`` and not 0.
        For perplexity it is the fraction of the bits of a uniform guess that the model saves: 1
        minus the ratio of their cross-entropies.
        """
        if self.name == "perplexity":
            return 1.0 - math.log(value) / math.log(self.guessing)
        return value / self.perfect

    def value_at(self, quality: float) -> float:
        """The value of a quality: the inverse of ``quality``."""
        if self.name == "perplexity":
            return math.exp((1.0 - quality) * math.log(self.guessing))
        return quality * self.perfect

    def normalised(self, value: float) -> float:
        """Fraction of the way from guessing (0) to perfection (1)."""
        return (self.quality(value) - self.guessing_quality) / (1.0 - self.guessing_quality)

    @property
    def guessing_quality(self) -> float:
        """Quality of a model that guesses."""
        return self.quality(self.guessing)

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
