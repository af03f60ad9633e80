"""The score of a task: its name, its direction, and the quality of a value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

MetricName = Literal["accuracy", "macro-f1", "matthews", "perplexity", "bits-per-byte", "bleu"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A score of models, in its usual unit.

    Args:
        name: ``accuracy`` (a fraction), ``macro-f1`` (0 to 1), ``matthews`` (-1 to 1),
            ``perplexity`` (per token), ``bits-per-byte`` or ``bleu`` (0 to 100).
        guessing: Value of a model that guesses.
        perfect: Value of a model that is always right.
    """

    name: MetricName
    guessing: float
    perfect: float

    @property
    def is_maximised(self) -> bool:
        """Whether higher is better."""
        return self.perfect > self.guessing

    def quality(self, value: float) -> float:
        """How good a value is: 1 for a perfect model, near 0 for a guess, and below 0 for worse.

        Accuracy is its own quality, so that a guess has the quality ``guessing_quality`` and not 0.
        For perplexity and bits per byte it is the fraction of the bits of a uniform guess that the
        model saves: 1 minus the ratio of their cross-entropies.
        """
        if self.name == "perplexity":
            return 1.0 - math.log(value) / math.log(self.guessing)
        if self.name == "bits-per-byte":
            return 1.0 - value / self.guessing
        return value / self.perfect

    def value_at(self, quality: float) -> float:
        """The value of a quality: the inverse of ``quality``."""
        if self.name == "perplexity":
            return math.exp((1.0 - quality) * math.log(self.guessing))
        if self.name == "bits-per-byte":
            return (1.0 - quality) * self.guessing
        return quality * self.perfect

    def normalised(self, value: float) -> float:
        """Quality scaled so that a guess has 0 and a perfect model 1."""
        return (self.quality(value) - self.guessing_quality) / (1.0 - self.guessing_quality)

    @property
    def guessing_quality(self) -> float:
        """Quality of a model that guesses."""
        return self.quality(self.guessing)

    def clipped(self, value: float) -> float:
        """A value within the range of the metric, such as the end of an interval."""
        if self.is_maximised:
            return min(max(value, -1.0 if self.name == "matthews" else 0.0), self.perfect)
        return max(value, self.perfect)

    def text(self, value: float) -> str:
        """A value with its usual digits."""
        return text(self.name, value)


def text(metric: str, value: float) -> str:
    """A value of the metric of that name, with its usual digits."""
    formats = {"perplexity": ".4g", "bleu": ".1f"}
    return format(value, formats.get(metric, ".3f"))


def accuracy(classes: int) -> Metric:
    """Fraction of examples that are classified correctly, among so many classes."""
    return Metric("accuracy", guessing=1.0 / classes, perfect=1.0)


def macro_f1(classes: int) -> Metric:
    """Mean over the classes of the harmonic mean of precision and recall, 0 to 1."""
    return Metric("macro-f1", guessing=1.0 / classes, perfect=1.0)


def matthews() -> Metric:
    """Matthews' correlation coefficient, of several classes too (Gorodkin 2004), -1 to 1."""
    return Metric("matthews", guessing=0.0, perfect=1.0)


def of_classes(classes: int) -> tuple[Metric, ...]:
    """The metrics of classifiers, the usual one first."""
    return accuracy(classes), macro_f1(classes), matthews()


def perplexity(vocabulary_size: int) -> Metric:
    """Perplexity per token: the exponential of the mean cross-entropy in nats."""
    return Metric("perplexity", guessing=float(vocabulary_size), perfect=1.0)


def bits_per_byte() -> Metric:
    """Cross-entropy in bits for each byte of text, which compares models of all vocabularies."""
    return Metric("bits-per-byte", guessing=8.0, perfect=0.0)


def bleu() -> Metric:
    """BLEU (Papineni et al. 2002), 0 to 100."""
    return Metric("bleu", guessing=0.0, perfect=100.0)
