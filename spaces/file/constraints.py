"""The limits of a search file, and the conditions under which latency is measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from spaces.cost.inference_cost import COSTS
from spaces.file.dimensions import Count, PositiveNumber, StrictModel


class Constraints(StrictModel):
    """Limits of a model's costs; configurations that would exceed one are not trained."""

    max_size_mb: PositiveNumber | None = None
    """Largest compressed model, in megabytes (10^6 bytes) on disk."""
    max_latency_ms: PositiveNumber | None = None
    """Highest latency (10th percentile), in milliseconds, under the conditions of
    ``measurement``."""
    max_flops: PositiveNumber | None = None
    """Most forward FLOPs for one sequence."""

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by the cost that they limit."""
        named = {name: getattr(self, cost.constraint) for name, cost in COSTS.items()}
        return {name: limit for name, limit in named.items() if limit is not None}


class Measurement(StrictModel):
    """Conditions under which latency is measured."""

    batch_size: Count = 1
    """Sequences in a batch."""
    threads: Count = 1
    """CPU threads."""
    repeats: Annotated[int, Field(ge=10, le=10_000)] = 40
    """Timed calls, each next to one of a reference model; up to eight times as many where other
    programs disturb the measurement."""
