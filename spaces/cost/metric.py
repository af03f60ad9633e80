"""The score of a task: its name, its direction, and the quality of a value."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

NAME = r"^[a-z][a-z0-9_-]{0,31}$"
MetricName = Annotated[str, Field(pattern=NAME)]
OF_WRITTEN_TEXTS = {
    "bleu": "BLEU", "chrf": "chrF", "rouge-1": "ROUGE-1", "rouge-2": "ROUGE-2",
    "rouge-l": "ROUGE-L",
}  # fmt: skip
"""Metrics from 0 to 100 of texts that models write, and how people write their names."""
CORRELATIONS = ("matthews", "spearman", "pearson")
"""Metrics from -1 to 1, of which a guess has 0."""
FROM_ZERO = ("accuracy", "balanced-accuracy", "macro-f1", "f1", *CORRELATIONS, *OF_WRITTEN_TEXTS)
"""Metrics whose quality is the fraction of perfection."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A score of models, in its usual unit.

    Args:
        name: ``accuracy`` (a fraction), ``balanced-accuracy`` and ``macro-f1`` (0 to 1), ``f1`` (of
            spans, 0 to 1), ``matthews`` (-1 to 1), ``perplexity`` (per token), ``bits-per-byte``,
            ``bleu``, ``chrf``, ``rouge-1``, ``rouge-2``, ``rouge-l`` (0 to 100), ``spearman`` and
            ``pearson`` (-1 to 1), ``rmse`` (in the unit of the labels), or that of a task, or of a
            function, of one's own.
        guessing: Value of a model that guesses.
        perfect: Value of a model that is always right.

    Raises:
        ValueError: The name cannot be one of a metric, or the values are equal or infinite.
    """

    name: str
    guessing: float
    perfect: float

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.name):
            raise ValueError(f"a metric cannot be named {self.name!r}; allowed is {NAME}")
        if not math.isfinite(self.guessing) or not math.isfinite(self.perfect):
            raise ValueError(f"{self.name}: the values of a guess and of perfection must be finite")
        if self.guessing == self.perfect:
            raise ValueError(f"{self.name}: a guess must be worse than perfection, {self.perfect}")

    @property
    def is_maximised(self) -> bool:
        """Whether higher is better."""
        return self.perfect > self.guessing

    def quality(self, value: float) -> float:
        """How good a value is: 1 for a perfect model, near 0 for a guess, and below 0 for worse.

        Accuracy is its own quality, so that a guess has the quality ``guessing_quality`` and not 0.
        For perplexity and bits per byte it is the fraction of the bits of a uniform guess that the
        model saves: 1 minus the ratio of their cross-entropies. For ``rmse`` it is the fraction of
        the deviation of the labels that it is less, and for a metric of a task of one's own it is 0
        for a guess too.
        """
        if self.name == "perplexity":
            return 1.0 - math.log(value) / math.log(self.guessing)
        return (value - self._zero) / (self.perfect - self._zero)

    def value_at(self, quality: float) -> float:
        """The value of a quality: the inverse of ``quality``."""
        if self.name == "perplexity":
            return math.exp((1.0 - quality) * math.log(self.guessing))
        return self._zero + quality * (self.perfect - self._zero)

    @property
    def _zero(self) -> float:
        """The value of the quality 0, but for perplexity."""
        return 0.0 if self.name in FROM_ZERO else self.guessing

    def normalised(self, value: float) -> float:
        """Quality scaled so that a guess has 0 and a perfect model 1."""
        return (self.quality(value) - self.guessing_quality) / (1.0 - self.guessing_quality)

    @property
    def guessing_quality(self) -> float:
        """Quality of a model that guesses."""
        return self.quality(self.guessing)

    def clipped(self, value: float) -> float:
        """A value within the range of the metric, such as the end of an interval."""
        if not self.is_maximised:
            return max(value, self.perfect)
        if self.name in FROM_ZERO:
            value = max(value, -1.0 if self.name in CORRELATIONS else 0.0)
        return min(value, self.perfect)

    def text(self, value: float) -> str:
        """A value with its usual digits."""
        return text(self.name, value)


def text(metric: str, value: float) -> str:
    """A value of the metric of that name, with its usual digits."""
    if metric in ("perplexity", "rmse"):
        return f"{value:.4g}"
    return format(value, ".1f" if metric in OF_WRITTEN_TEXTS else ".3f")


class Measure(Metric):
    """A score that a function of the user returns: its best and its worst value are not known."""

    __slots__ = ()

    def __post_init__(self) -> None:
        """Any name is allowed."""

    @classmethod
    def of(cls, name: str, *, is_maximised: bool) -> Measure:
        """The measure of a name, of which more or less is better."""
        sign = 1.0 if is_maximised else -1.0
        return cls(name, guessing=-sign * math.inf, perfect=sign * math.inf)

    def quality(self, value: float) -> float:
        """The value itself, or its negative where less is better."""
        return value if self.is_maximised else -value

    def value_at(self, quality: float) -> float:
        """The value of a quality: the inverse of ``quality``."""
        return self.quality(quality)

    def text(self, value: float) -> str:
        """A value with four digits."""
        return f"{value:.4g}"

    def clipped(self, value: float) -> float:
        """The value: every one is possible."""
        return value


def accuracy(classes: int, majority: float | None = None) -> Metric:
    """Fraction of examples that are classified correctly, among so many classes.

    Args:
        majority: Fraction of the examples that are of the most frequent class, which is the
            accuracy of a guess; by default that of equal classes.
    """
    return Metric("accuracy", guessing=majority or 1.0 / classes, perfect=1.0)


def balanced_accuracy(classes: int) -> Metric:
    """Mean over the classes of the fraction of their examples that are classified correctly, 0 to
    1: however frequent a class is, a guess has the same."""
    return Metric("balanced-accuracy", guessing=1.0 / classes, perfect=1.0)


def macro_f1(classes: int) -> Metric:
    """Mean over the classes of the harmonic mean of precision and recall, 0 to 1."""
    return Metric("macro-f1", guessing=1.0 / classes, perfect=1.0)


def matthews() -> Metric:
    """Matthews' correlation coefficient, of several classes too (Gorodkin 2004), -1 to 1."""
    return Metric("matthews", guessing=0.0, perfect=1.0)


def of_classes(classes: int, majority: float | None = None) -> tuple[Metric, ...]:
    """The metrics of classifiers, the usual one first; arguments as of ``accuracy``."""
    return (
        accuracy(classes, majority), balanced_accuracy(classes), macro_f1(classes), matthews(),
    )  # fmt: skip


def of_tags(classes: int, majority: float | None = None) -> tuple[Metric, ...]:
    """The metrics of taggers, the usual one first: F1 of whole spans such as named entities, 0 to
    1, and of single words accuracy, balanced accuracy and the mean F1 of the tags."""
    f1 = Metric("f1", guessing=0.0, perfect=1.0)
    return f1, accuracy(classes, majority), balanced_accuracy(classes), macro_f1(classes)


def perplexity(vocabulary_size: int) -> Metric:
    """Perplexity per token: the exponential of the mean cross-entropy in nats."""
    return Metric("perplexity", guessing=float(vocabulary_size), perfect=1.0)


def bits_per_byte() -> Metric:
    """Cross-entropy in bits for each byte of text, which compares models of all vocabularies."""
    return Metric("bits-per-byte", guessing=8.0, perfect=0.0)


def bleu() -> Metric:
    """BLEU (Papineni et al. 2002), 0 to 100."""
    return Metric("bleu", guessing=0.0, perfect=100.0)


def chrf() -> Metric:
    """chrF2, the F-score of character n-grams (Popović 2015), 0 to 100."""
    return Metric("chrf", guessing=0.0, perfect=100.0)


def rouge(kind: str) -> Metric:
    """The F-measure of ROUGE (Lin 2004), 0 to 100: of unigrams (``1``), of bigrams (``2``), or of
    the longest common subsequence (``l``)."""
    return Metric(f"rouge-{kind}", guessing=0.0, perfect=100.0)


def correlations() -> tuple[Metric, ...]:
    """Spearman's and Pearson's correlation of predicted numbers with labels, -1 to 1."""
    return Metric("spearman", guessing=0.0, perfect=1.0), Metric(
        "pearson", guessing=0.0, perfect=1.0
    )


def rmse(deviation: float) -> Metric:
    """Root of the mean squared error of numbers with a standard deviation, which is the error of
    their mean."""
    return Metric("rmse", guessing=deviation, perfect=0.0)
