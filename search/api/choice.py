"""The best model within limits, or an error that says what is nearest."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, TypedDict

from search.formatting import cost_summary
from search.results.queries import StudyQueries
from search.results.schemas import Best, Trial
from spaces.cost.inference_cost import COSTS
from spaces.cost.metric import text
from spaces.errors import UserError

if TYPE_CHECKING:
    from search.results.functions import FunctionBest


class Limits(TypedDict, total=False):
    """Highest value of each cost; a search has the usual ones and those that it names."""

    max_size_mb: float | None
    """Largest size on disk, in megabytes (10^6 bytes)."""
    max_latency_ms: float | None
    """Highest latency of a batch, corrected for a slowed machine."""
    max_flops: float | None
    """Most FLOPs for a sequence."""
    max_first_token_ms: float | None
    """Longest time to the first token that a model writes."""
    max_token_ms: float | None
    """Longest time of each further token."""
    max_example_ms: float | None
    """Longest time per example in a large batch."""
    max_memory_mb: float | None
    """Highest peak memory, in megabytes (10^6 bytes)."""


class NoModelWithinLimits(UserError):
    """No model of a search meets the limits.

    Args:
        message: With what the nearest one exceeds.
        nearest: The model that exceeds them least; its trial is None where none is complete.
    """

    def __init__(self, message: str, nearest: Best | FunctionBest) -> None:
        self.nearest = nearest
        super().__init__(message)


def limits_by_cost(given: Mapping[str, Any]) -> dict[str, float]:
    """Limits by cost.

    Args:
        given: As ``Limits``.

    Raises:
        UserError: One is no number above 0, or limits nothing that is known.
    """
    fields = {cost.constraint: name for name, cost in COSTS.items()}
    for field in given:
        if field not in fields:
            raise UserError(f"{field}: is not known; limits are {', '.join(fields)}")
    limits = {fields[field]: limit for field, limit in given.items() if limit is not None}
    check_limits(limits)
    return limits


def check_limits(limits: Mapping[str, Any]) -> None:
    """Refuse limits that are no numbers above 0.

    Args:
        limits: By cost.

    Raises:
        UserError: With the first of them.
    """
    for name, limit in limits.items():
        if isinstance(limit, bool) or not isinstance(limit, Real) or not float(limit) > 0:
            raise UserError(
                f"max_{name}: {limit!r:.100} is not allowed; a limit is a number above 0"
            )


def best_within(queries: StudyQueries, name: str, limits: Mapping[str, float]) -> Best:
    """The best model of a search within limits by cost (``size_mb``, …).

    Raises:
        NoModelWithinLimits: None meets them.
    """
    found = queries.best(name, limits)
    if not found.is_within:
        raise NoModelWithinLimits(_message(name, found), found)
    return found


def trial_within(queries: StudyQueries, name: str, limits: Mapping[str, float]) -> Trial:
    """The trial of this model; raises as ``best_within``."""
    found = best_within(queries, name, limits).trial
    assert found is not None
    return found


def _message(name: str, nearest: Best) -> str:
    trial = nearest.trial
    if trial is None:
        return f"search {name!r} has no complete trial yet"
    result = trial.result
    missed = ", ".join(
        f"{cost} {COSTS[cost].text(result[cost])} ({factor:.2f} times the limit)"
        for cost, factor in nearest.misses.items()
    )
    score = f"{result['metric']} {text(result['metric'], result['score'])}"
    return (
        f"no model of search {name!r} meets the limits; the nearest exceeds: {missed}: "
        f"#{trial.trial} {trial.text}: {score}, {cost_summary(result, nearest.cost)}"
    )
