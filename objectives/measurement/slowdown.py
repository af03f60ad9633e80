"""The correction of a latency for a machine that was slow while it was measured.

A reference model is timed in turn with each model. The reference at its best, as far as it is known
now, tells how slow the machine was: a host that was slow throughout shows only afterwards. So a
record keeps what was measured, and is restated when the reference has been faster.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

MAX_SLOWDOWN = 1.25
"""p10 of the reference divided by its lowest p10, above which a latency is an estimate."""
MIN_IMPROVEMENT = 0.99
"""Fraction of the reference's best times below which new ones replace them."""


class ReferenceTimes(NamedTuple):
    """Times of the reference model under some conditions, in milliseconds; infinite if unknown.

    Args:
        p10_ms: Low percentile.
        min_ms: Fastest call.
    """

    p10_ms: float = math.inf
    min_ms: float = math.inf

    def with_faster(self, other: ReferenceTimes) -> ReferenceTimes:
        """The lower of each; unchanged where the other's are hardly lower."""
        if all(new >= MIN_IMPROVEMENT * old for new, old in zip(other, self, strict=True)):
            return self
        return ReferenceTimes(*map(min, self, other))


UNKNOWN_REFERENCE = ReferenceTimes()


class MeasuredTimes(NamedTuple):
    """What the correction needs of a measurement; times are in milliseconds.

    Args:
        p10_ms: Low percentile of the model's calls.
        min_ms: Its fastest call.
        reference_p10_ms: Low percentile of the reference, measured in turn with it.
        reference_min_ms: Fastest call of the reference.
        best_reference_p10_ms: The best of the reference that was known then under these conditions,
            also from other searches; ``best_reference_min_ms`` likewise.
        conditions: Names what the time of the reference depends on, the machine type among it.
    """

    p10_ms: float
    min_ms: float
    reference_p10_ms: float
    reference_min_ms: float
    best_reference_p10_ms: float
    best_reference_min_ms: float
    conditions: str

    @classmethod
    def of(cls, latency: Mapping[str, Any]) -> MeasuredTimes:
        """Those of a recorded latency."""
        return cls(**{name: latency[name] for name in cls._fields})

    @property
    def best_known(self) -> ReferenceTimes:
        """The best of the reference that was known then."""
        return ReferenceTimes(self.best_reference_p10_ms, self.best_reference_min_ms)

    def slowdown(self, best: ReferenceTimes) -> float:
        """Factor by which the reference was slower than at its best."""
        return max(1.0, self.reference_p10_ms / best.p10_ms)

    def corrected_ms(self, best: ReferenceTimes) -> float:
        """The low percentile that the machine would have at its best.

        It is not below the model's fastest call, which a slow host slowed as it did the fastest
        call of the reference: where that one was at its best, no correction goes below what was
        measured.
        """
        fastest = self.min_ms / max(1.0, self.reference_min_ms / best.min_ms)
        return max(fastest, self.p10_ms / self.slowdown(best))


BestReferences = Mapping[str, ReferenceTimes]
"""The best times of the reference, by conditions."""


def with_faster(known: BestReferences, measured: Iterable[MeasuredTimes]) -> BestReferences:
    """The best times of the reference that are known after some measurements."""
    best = dict(known)
    for each in measured:
        known_best = best.get(each.conditions, UNKNOWN_REFERENCE)
        best[each.conditions] = known_best.with_faster(each.best_known)
    return best


def restated(result: Mapping[str, Any], best: BestReferences) -> dict[str, Any]:
    """The result of a trial, whose latency is corrected by the best times of the reference."""
    latency = result["latency"]
    times = MeasuredTimes.of(latency)
    reference = best[times.conditions]
    slowdown = times.slowdown(reference)
    corrected = {
        **latency,
        "best_reference_p10_ms": reference.p10_ms,
        "best_reference_min_ms": reference.min_ms,
        "slowdown": slowdown,
        "noisy": latency["noisy"] or slowdown > MAX_SLOWDOWN,
    }
    return {**result, "latency": corrected, "latency_ms": times.corrected_ms(reference)}
