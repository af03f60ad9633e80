"""Units of budgets, precisions, and durations and large numbers as text."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

MIN_STEPS = 10
"""Fewest steps of a training run; a search file that asks for fewer is refused."""

Precision = Literal["fp32", "bf16"]
"""Of the forward and backward pass of training."""


class BudgetUnit(StrEnum):
    """Unit of a budget.

    In ``flops`` and ``seconds`` a larger model gets fewer steps for the same budget. Seconds are
    those of the speed that was measured for the architecture before the search.
    """

    STEPS = "steps"
    TOKENS = "tokens"
    FLOPS = "flops"
    SECONDS = "seconds"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def quantity(value: float) -> str:
    """A large number with its SI prefix, to three digits: ``1.25 M``."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:.3g} "
