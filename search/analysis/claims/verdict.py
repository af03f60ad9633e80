"""A claim, and the verdict on it: the answer, the effect with its interval, what is missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from search.analysis.claims.inference import LEAST_SEEDS, TOGETHER, Estimate
from search.analysis.claims.measurements import Measurements


class Answer(StrEnum):
    """Whether trials decide a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNDECIDED = "not decided"


@dataclass(frozen=True)
class Effect:
    """A measured effect with its interval, all in the same unit.

    Args:
        low: End of its interval; None where there is none, as with ``high``.
        units: The independent units that the interval is from, in words.
    """

    estimate: float
    low: float | None
    high: float | None
    unit: str
    units: str

    @classmethod
    def of(
        cls,
        estimate: Estimate,
        unit: str,
        scale: Callable[[float], float],
        confidence: float = TOGETHER,
    ) -> Effect:
        """An estimate on the scale that people read, which may turn its direction."""
        ends = [
            scale(end) if math.isfinite(end) else math.nan for end in estimate.interval(confidence)
        ]
        low, high = (None, None) if math.isnan(ends[0]) else (min(ends), max(ends))
        return cls(scale(estimate.value), low, high, unit, estimate.units)

    @property
    def interval(self) -> str:
        """Its interval as text."""
        if self.low is None or self.high is None:
            return "–"
        return f"{self.low:+.3g} to {self.high:+.3g}"

    def is_above(self, bound: float) -> bool:
        """Whether its whole interval lies above a bound."""
        return self.low is not None and self.low > bound

    def is_below(self, bound: float) -> bool:
        """Whether its whole interval lies below a bound."""
        return self.high is not None and self.high < bound

    def __str__(self) -> str:
        interval = "no interval" if self.low is None else self.interval
        return f"{self.estimate:+.3g} {self.unit} ({interval})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write."""
        return {
            "estimate": self.estimate,
            "low": self.low,
            "high": self.high,
            "unit": self.unit,
            "units": self.units,
        }


@dataclass(frozen=True)
class Finding:
    """What some measurements say about a claim.

    Args:
        reading: What they show, in a sentence or two.
        effect: None without the trials to measure it.
        missing: Trials that would measure it.
        rows: The table behind it: one row a level, its cells by their heading.
        evidence: What the figure shows beside the measurements; its type depends on the claim.
    """

    reading: str
    effect: Effect | None = None
    missing: tuple[str, ...] = ()
    rows: tuple[dict[str, str], ...] = ()
    evidence: tuple[Any, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Claim:
    """A claim: an effect that lies on one side of a bound.

    Args:
        number: From 1.
        statement: The claim as it is tested.
        find: Measures the effect.
        bound: In the unit of the effect.
        is_above: Whether the claim is that the effect is above the bound, or below it.
    """

    number: int
    title: str
    statement: str
    find: Callable[[Measurements], Finding]
    bound: float = 0.0
    is_above: bool = True

    def answer(self, effect: Effect) -> Answer:
        """Supported where the whole interval is on its side, contradicted on the other."""
        if not (effect.is_above(self.bound) or effect.is_below(self.bound)):
            return Answer.UNDECIDED
        holds = effect.is_above(self.bound) == self.is_above
        return Answer.SUPPORTED if holds else Answer.CONTRADICTED


@dataclass(frozen=True)
class Verdict:
    """The verdict on one claim.

    Args:
        answer: What the measurements decide.
        finding: What they show.
        data: The measurements that were used.
        missing: Trials that would decide it.
    """

    claim: Claim
    answer: Answer
    finding: Finding
    data: Measurements
    missing: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """Number of the claim."""
        return self.claim.number

    @property
    def title(self) -> str:
        """Title of the claim."""
        return self.claim.title

    @property
    def effect(self) -> Effect | None:
        """The measured effect."""
        return self.finding.effect

    @property
    def rows(self) -> tuple[dict[str, str], ...]:
        """The table behind it."""
        return self.finding.rows

    @property
    def reading(self) -> str:
        """What the result means; below three seeds, worded as the description of a run."""
        if self.data.seeds or self.effect is None:
            return self.finding.reading
        found = len(self.data.observations.seeds)
        runs = "In this run" if found == 1 else f"In these {found} runs"
        return f"{runs} (described, not decided): {self.finding.reading}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write."""
        return {
            "claim": self.number,
            "title": self.title,
            "statement": self.claim.statement,
            "answer": self.answer.value,
            "effect": self.effect and self.effect.to_dict(),
            "seeds": list(self.data.seeds or self.data.observations.seeds),
            "reading": self.reading,
            "missing": list(self.missing),
            "rows": list(self.rows),
        }


def judge(claim: Claim, *sets: Measurements) -> Verdict:
    """The verdict on a claim, by the first of some sets of measurements that measures it.

    Args:
        claim: What to judge.
        sets: Replicated measurements, which can decide, before others, which describe.
    """
    found = [(claim.find(data), data) for data in sets]
    finding, data = next(((f, d) for f, d in found if f.effect is not None), found[-1])
    if finding.effect is None:
        return Verdict(claim, Answer.UNDECIDED, finding, data, finding.missing)
    answer = claim.answer(finding.effect) if data.seeds else Answer.UNDECIDED
    missing: tuple[str, ...] = ()
    if not data.seeds:
        missing = (f"the same trials with {LEAST_SEEDS} seeds of training or more",)
    elif finding.effect.low is None:
        missing = ("more architectures: too few for an interval",)
    elif answer is Answer.UNDECIDED:
        missing = ("further seeds, or further architectures: the interval includes the bound",)
    return Verdict(claim, answer, finding, data, missing)


def per_cent(log_ratio: float) -> float:
    """A logarithm of a ratio as a change in per cent."""
    return float(100.0 * np.expm1(log_ratio))
