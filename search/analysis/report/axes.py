"""Axes: where a value lies, and which values are written beside. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from spaces.cost.metric import Metric

MOST_TICKS = 6
DAY = 86_400
TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200)
"""Seconds between ticks that people count in."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values as shares of a length.

    Args:
        low: Value at 0.
        high: Value at 1.
        is_log: Whether equal ratios are equally long.
    """

    low: float
    high: float
    is_log: bool = False

    @classmethod
    def around(cls, values: Sequence[float], *, is_log: bool = False, room: float = 0.04) -> Axis:
        """The axis that holds some values with a share of room at both ends."""
        ends = [math.log(value) for value in values] if is_log else list(values)
        low, high = min(ends), max(ends)
        # One value alone, or equal ones, still need a length.
        more = room * (high - low) or 0.1 * (1.0 if is_log else abs(high) or 1.0)
        low, high = low - more, high + more
        return cls(math.exp(low), math.exp(high), True) if is_log else cls(low, high)

    def share(self, value: float) -> float:
        """Where a value lies, 0 to 1 within the axis."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values within the axis, ascending, about ``MOST_TICKS`` of them."""
        return log_ticks(self.low, self.high) if self.is_log else even_ticks(self.low, self.high)


def even_ticks(low: float, high: float, most: int = MOST_TICKS) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    decade = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(m * decade for m in (1, 2, 5, 10, 20) if (high - low) / (m * decade) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 times them where they are few; even ticks on a short axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7)):
        found = [float(f"{d}e{decade}") for decade in decades for d in digits]
        within = [value for value in found if low <= value <= high]
        if len(within) >= 5:
            return within
    return even_ticks(low, high, 5)


def score_ticks(metric: Metric, axis: Axis) -> list[float]:
    """Round scores on an axis of quality shares, which is even for a share and logarithmic for a
    perplexity."""
    ends = sorted((metric.value_at(axis.low), metric.value_at(axis.high)))
    return log_ticks(*ends) if metric.name == "perplexity" else even_ticks(ends[0], ends[1])


def time_ticks(most: float) -> list[float]:
    """Seconds from 0 that people count in."""
    step = next((each for each in TIMES if most / each <= MOST_TICKS), 0)
    step = step or DAY * math.ceil(most / DAY / MOST_TICKS)
    return [float(step * k) for k in range(int(most / step) + 1)]


def time_text(seconds: float) -> str:
    """A time of an axis: ``30 s``, ``5 min``, ``2 h``, ``3 d``."""
    for unit, name in ((DAY, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s" if seconds else "0"
