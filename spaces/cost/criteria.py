"""The criteria by which the trials of a search are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spaces.cost.inference_cost import COSTS, Cost
from spaces.cost.metric import Metric


@dataclass(frozen=True, slots=True)
class Criteria:
    """The score, the inference cost that it is weighed against, and the limits of all costs.

    Args:
        cost: The cost axis of the frontier; at a fixed cost, the first cost that is limited.
        limits: Highest allowed value of each limited cost, by its name.
        is_at_fixed_cost: Whether the search is for the best score within the limits, and not for a
            frontier.
        costs: Names of all costs that a result has.
    """

    metric: Metric
    cost: Cost
    limits: Mapping[str, float]
    is_at_fixed_cost: bool = False
    costs: tuple[str, ...] = tuple(COSTS)

    @property
    def limit(self) -> float | None:
        """Limit of the cost axis, where there is one."""
        return self.limits.get(self.cost.name)

    def violations(self, result: Mapping[str, Any]) -> dict[str, float]:
        """By what fraction a result exceeds each limit; at most 0 where it meets the limit."""
        return {name: result[name] / limit - 1.0 for name, limit in self.limits.items()}
