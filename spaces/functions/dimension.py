"""A dimension of a function: choices, or numbers of a range."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator

from spaces.file.dimensions import MAX_GRID, StrictModel

REAL_VALUES = 16
"""Values of a dimension of real numbers where neither ``count`` nor ``step`` is given."""

Whole = Annotated[int, Field(ge=-(2**62), le=2**62)]
"""Larger ones count as real numbers, which have a range too."""
Number = Whole | float
Choice = bool | Whole | float | str


class FunctionDimension(StrictModel):
    """A dimension: ``choices``, or numbers from ``low`` to ``high``."""

    choices: list[Choice] | None = Field(default=None, min_length=1, max_length=MAX_GRID)
    """The values: texts, booleans or numbers; excludes the other fields."""
    low: Number | None = None
    """Smallest value."""
    high: Number | None = None
    """Largest value, reached only if the steps land on it."""
    step: Number | None = None
    """Distance of neighbours; 1 where ``low`` and ``high`` are whole."""
    log: bool = False
    """Whole numbers double from ``low`` to ``high``; real ones are spaced evenly by their
    logarithms."""
    count: Annotated[int, Field(ge=2, le=MAX_GRID)] | None = None
    """Number of values from ``low`` to ``high``, of real numbers; 16 without it."""

    @model_validator(mode="after")
    def _complete(self) -> FunctionDimension:
        others = (self.low, self.high, self.step, self.count)
        if self.choices is not None:
            if others != (None,) * 4 or self.log:
                raise ValueError("give either choices, or low and high (with step, log or count)")
        elif self.low is None or self.high is None:
            raise ValueError("give choices, or both low and high")
        elif self.high < self.low:
            raise ValueError(f"empty: high ({self.high}) is below low ({self.low})")
        elif self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, not {self.low}")
        elif self.step is not None and (self.log or self.count is not None):
            raise ValueError("give step, or log, or count: each says where the values are")
        elif self.step is not None and self.step <= 0:
            raise ValueError(f"step must be above 0, not {self.step}")
        elif self.count is not None and self._is_whole:
            raise ValueError("count is for real numbers; whole numbers have a step, or log")
        elif self._intervals >= MAX_GRID:
            raise ValueError(f"more than {MAX_GRID:,} values; make the step larger")
        if len(set(self.values)) != len(self.values):
            raise ValueError("the values repeat one another")
        return self

    @property
    def _is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def _intervals(self) -> float:
        """Distance from ``low`` to ``high``: in doublings, in steps, or in values."""
        assert self.low is not None
        assert self.high is not None
        if self._is_whole and self.log:
            return math.log2(self.high) - math.log2(self.low) + 1e-9
        if self._is_whole or self.step is not None:
            return (self.high - self.low) / (self.step or 1) + 1e-9
        return float((self.count or REAL_VALUES) - 1)

    @property
    def values(self) -> tuple[Choice, ...]:
        """The grid, ascending where it was given by ``low`` and ``high``."""
        if self.choices is not None:
            return tuple(self.choices)
        low, high, intervals = self.low, self.high, int(self._intervals)
        assert low is not None
        assert high is not None
        if self._is_whole and self.log:
            return tuple(int(math.ldexp(low, k)) for k in range(intervals + 1))
        if self._is_whole or self.step is not None:
            # 0.1 + 2 * 0.1 must equal 0.3, because values are hashed.
            steps = (low + k * (self.step or 1) for k in range(intervals + 1))
            whole = self._is_whole and isinstance(self.step or 1, int)
            return tuple(value if whole else round(float(value), 10) for value in steps)
        if low == high:
            return (float(low),)
        inner = (k / intervals for k in range(1, intervals))
        if self.log:
            start, length = math.log(low), math.log(high) - math.log(low)
            between = [float(f"{math.exp(start + part * length):.4g}") for part in inner]
        else:
            between = [round(low + part * (high - low), 10) for part in inner]
        return float(low), *between, float(high)
