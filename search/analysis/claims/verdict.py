"""The verdict on a claim: the answer, the effect with its interval, and what is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from search.arrays import Floats
from spaces.cost.units import quantity


class Answer(StrEnum):
    """Whether trials support a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NOT_ENOUGH = "not enough trials"


@dataclass(frozen=True)
class Effect:
    """A measured effect, with its 95 % bootstrap interval, all in the same unit."""

    estimate: float
    low: float
    high: float
    unit: str

    @classmethod
    def of(cls, draws: Floats, unit: str) -> Effect:
        """The effect whose estimate is row 0 of ``draws``, and whose draws are the other rows."""
        finite = draws[1:][np.isfinite(draws[1:])]
        low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) else (math.nan, math.nan)
        return cls(float(draws[0]), float(low), float(high), unit)

    @property
    def interval(self) -> str:
        """Its interval as text."""
        return f"{self.low:+.3g} to {self.high:+.3g}"

    def __str__(self) -> str:
        return f"{self.estimate:+.3g} {self.unit} ({self.interval})"


@dataclass(frozen=True)
class Verdict:
    """The verdict on one claim.

    Args:
        number: Number of the claim, from 1.
        statement: The claim as it was tested.
        reading: What the result means, in a sentence or two.
        effect: None without the trials to measure it.
        missing: Trials that would decide it.
        rows: The table behind it: one row a level, its cells by their heading.
        evidence: What the figure shows beside the measurements; its type depends on the claim.
    """

    number: int
    title: str
    statement: str
    reading: str
    answer: Answer = Answer.NOT_ENOUGH
    effect: Effect | None = None
    missing: tuple[str, ...] = ()
    rows: tuple[dict[str, str], ...] = ()
    evidence: tuple[Any, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write."""
        return {
            "claim": self.number,
            "title": self.title,
            "statement": self.statement,
            "answer": self.answer.value,
            "effect": self.effect and asdict(self.effect),
            "reading": self.reading,
            "missing": list(self.missing),
            "rows": list(self.rows),
        }


def answer_above(effect: Effect, negligible: float, *, least: float = 0.0) -> Answer:
    """The answer to a claim that an effect is greater than ``least``.

    Supported where the whole interval is; contradicted where it is below ``negligible``, so that a
    difference known to be negligible is an answer too, and not a lack of trials.
    """
    if effect.high < negligible:
        return Answer.CONTRADICTED
    return Answer.SUPPORTED if effect.low > least else Answer.NOT_ENOUGH


def answer_below(effect: Effect, negligible: float) -> Answer:
    """The answer to a claim that an effect is negative; as ``answer_above``."""
    mirrored = Effect(-effect.estimate, -effect.high, -effect.low, effect.unit)
    return answer_above(mirrored, negligible)


def too_noisy(
    answer: Answer,
    remedy: str = "the same search with other seeds, or more validation examples: noise is too "
    "large",
) -> tuple[str, ...]:
    """The trials that are missing where an effect was measured that decides nothing."""
    return (remedy,) if answer is Answer.NOT_ENOUGH else ()


def bias_reduced_best(values: Floats) -> Floats:
    """The best (highest) of some noisy columns, with less of the bias of selecting a maximum.

    In each draw, another draw selects the column that this one measures (the double estimator of
    van Hasselt 2010, *Double Q-learning*); the estimate is the mean of the draws. Some bias
    remains: the draws scatter around the measured values, which are noisy themselves.

    Args:
        values: ``(1 + DRAWS, columns)``.

    Returns:
        ``(1 + DRAWS,)``.
    """
    draws = values[1:]
    chosen = np.roll(draws, 1, axis=0).argmax(axis=1)
    measured = draws[np.arange(len(draws)), chosen]
    return np.concatenate([[measured.mean()], measured])


def mean_of(columns: Sequence[Floats]) -> Floats:
    """Mean over levels, draw by draw."""
    return np.asarray(np.mean(np.stack(columns), axis=0))


def count(number: float) -> str:
    """A count with its SI prefix, to three digits: ``1.25M``."""
    return quantity(number).replace(" ", "")
