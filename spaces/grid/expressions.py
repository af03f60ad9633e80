"""What the expressions of a search's constraints say of its configurations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spaces.cost.configuration import Configuration
from spaces.expression import Expression

KNOWN_COSTS = ("size_mb", "flops", "parameters")
"""What is known of every model before training."""
NUMBERS = (
    "depth", "width", "heads", "head_width", "feed_forward", "feed_forward_ratio", "budget",
    "bits", "group_size", "sparsity", "recovery",
)  # fmt: skip
"""Names that every space has, of numbers that are no costs."""


@dataclass(frozen=True)
class ExpressionConstraints:
    """Expressions that a configuration has to meet.

    Args:
        known_of: Value of one of ``KNOWN_COSTS``, or the pieces of the vocabulary.
    """

    expressions: tuple[Expression, ...]
    known_of: Callable[[Configuration, str], float]

    @property
    def names(self) -> frozenset[str]:
        """The names in them."""
        return frozenset().union(*(each.names for each in self.expressions))

    def are_met(self, configuration: Configuration) -> bool:
        """Whether a configuration meets all of them."""
        return all(self.is_met(each, configuration) for each in self.expressions)

    def is_met(self, expression: Expression, configuration: Configuration) -> bool:
        """Whether a configuration meets one of them."""
        values = {name: self.value_of(configuration, name) for name in expression.names}
        return expression.holds(values)

    def value_of(self, configuration: Configuration, name: str) -> Any:
        """Value of a name in a configuration.

        Raises:
            AttributeError: The configuration has none of this name.
        """
        if name in (*KNOWN_COSTS, "vocabulary"):
            return self.known_of(configuration, name)
        return configuration.value_of(name)
