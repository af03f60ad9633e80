"""The correction of a latency for a machine that was slow while it was measured.

A reference model is timed in turn with each model. The reference at its best, as far as it is known
now, tells how slow the machine was: a host that was slow throughout shows only afterwards. So a
record keeps what was measured, and is restated when the reference has been faster.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

LATENCY = "latency_ms"
MEASURED_COSTS = "measured_costs"
"""Field of a result: how the costs were measured that only some searches have, by name."""
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


MeasuredCost = MeasuredTimes | float
"""A cost that was measured: a time, or, such as memory, a number that needs no correction."""


def corrected(measured: MeasuredCost, best: BestReferences) -> float:
    """A measured cost, corrected by the best times of the reference."""
    if not isinstance(measured, MeasuredTimes):
        return measured
    return measured.corrected_ms(best.get(measured.conditions, measured.best_known))


def times_of(result: Mapping[str, Any]) -> list[MeasuredTimes]:
    """Every time that was measured of a trial, from its result."""
    return [MeasuredTimes.of(details) for details in _details(result).values()]


def restated(result: Mapping[str, Any], best: BestReferences) -> dict[str, Any]:
    """The result of a trial, whose times are corrected by the best times of the reference."""
    now, measured = dict(result), dict(result.get(MEASURED_COSTS, {}))
    for cost, details in _details(result).items():
        times = MeasuredTimes.of(details)
        reference = best[times.conditions]
        slowdown = times.slowdown(reference)
        now[cost] = times.corrected_ms(reference)
        measured[cost] = {
            **details,
            "best_reference_p10_ms": reference.p10_ms,
            "best_reference_min_ms": reference.min_ms,
            "slowdown": slowdown,
            "noisy": details["noisy"] or slowdown > MAX_SLOWDOWN,
        }
    if LATENCY in measured:
        now["latency"] = measured.pop(LATENCY)
    return {**now, MEASURED_COSTS: measured} if MEASURED_COSTS in result else now


def _details(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """How each time of a trial was measured, by the name of the cost."""
    latency = {LATENCY: result["latency"]} if "latency" in result else {}
    return {**latency, **result.get(MEASURED_COSTS, {})}
