"""The points of a search whose objective is a function, and what is known of them beforehand."""

from __future__ import annotations

import itertools
import json
import math
import numbers
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from spaces.cost.configuration import content_hash
from spaces.errors import UserError
from spaces.functions.search import FunctionSearch
from spaces.grid.grid import Dimension, Grid, Point

CostFunction = Callable[[dict[str, Any]], Mapping[str, float]]
"""Costs that are known before a trial, by name, from the values of the dimensions."""
StagesFunction = Callable[[dict[str, Any]], Iterable[Any]]
"""Keys of the stages that a trial with some values needs, in their order."""

MOST_DRAWN = 2**17
"""Points of a larger space that are drawn at random where all of a smaller one are looked at."""


@dataclass(frozen=True)
class Values:
    """One point of the space of a function.

    Args:
        items: Value of each dimension, with its name, in the order of the space.
        seed: What the function gets as ``trial.seed``.
        known: Costs that are known before the trial, by name.
        stages: Keys of the stages that it needs, where they are known.
    """

    items: tuple[tuple[str, Any], ...]
    seed: int = 0
    known: Mapping[str, float] = field(default_factory=dict)
    stages: tuple[str, ...] = ()

    @property
    def params(self) -> dict[str, Any]:
        """The value of each dimension."""
        return dict(self.items)

    @property
    def hash(self) -> str:
        """Identifies this point."""
        return content_hash(self.params)

    @property
    def stable_path(self) -> str:
        """What points share that wait for one another's work: the last stage, if there is one."""
        return self.stages[-1] if self.stages else self.hash

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write, without the stages."""
        return {"params": self.params, "seed": self.seed, "known": dict(self.known)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Values:
        """Inverse of ``to_dict``."""
        return cls(tuple(values["params"].items()), int(values["seed"]), values["known"])

    def __str__(self) -> str:
        return ", ".join(f"{name} {value_text(value)}" for name, value in self.items)


class FunctionSpace(Grid):
    """The points of a search with a function.

    Args:
        cost: Costs that are known before a trial.
        stages: Stages that a trial needs.
    """

    def __init__(
        self,
        search: FunctionSearch,
        cost: CostFunction | None = None,
        stages: StagesFunction | None = None,
    ) -> None:
        super().__init__(tuple(Dimension(name, each.values) for name, each in search.space.items()))
        self.search = search
        self._conditions = search.conditions
        self.has_stages = stages is not None
        self._cost = cost
        self._stages = stages
        self._known: dict[Point, dict[str, float]] = {}

    def configuration(self, point: Point) -> Values:
        """The values of a point."""
        items = tuple(self.values(point).items())
        return Values(items, self.search.seed, self.known_costs(point), self.stages(point))

    def has(self, point: Point) -> bool:
        """Whether there is such a point: each has its values."""
        return True

    def shuffled(self, rng: random.Random) -> Iterator[Point]:
        """Every point once in a pseudo-random order; of a large space, so many of them."""
        return itertools.islice(super().shuffled(rng), MOST_DRAWN)

    def known_costs(self, point: Point) -> Mapping[str, float]:
        """The costs of a point that are known before a trial, by name.

        Raises:
            UserError: The user's function raised, or returned something else than costs.
        """
        if self._cost is None:
            return {}
        if point not in self._known:
            self._known[point] = _costs(self._cost, self.values(point))
        return self._known[point]

    def stages(self, point: Point) -> tuple[str, ...]:
        """Keys of the stages that a point needs; empty where the user does not say.

        Raises:
            UserError: The user's function raised, or returned no keys.
        """
        if self._stages is None:
            return ()
        values = self.values(point)
        try:
            keys = self._stages(values)
            if isinstance(keys, str):
                raise TypeError(f"returned the text {keys!r}; a list of keys is allowed")
            return tuple(map(stage_key, keys))
        except Exception as error:
            # Whatever the function raises.
            raise UserError(f"stages: {type(error).__name__}: {error}, for {values}") from error

    def is_feasible(self, values: Values) -> bool:
        """Whether the known costs are within the limits, and the expressions hold."""
        limits = self.search.limits
        return all(
            cost <= limits.get(name, math.inf) for name, cost in values.known.items()
        ) and self.meets_expressions(values.params, values.known)

    def meets_expressions(self, params: Mapping[str, Any], known: Mapping[str, float]) -> bool:
        """Whether the expressions of the constraints hold for some values.

        Args:
            known: Costs that are known before a trial. Expressions over others count as holding.
        """
        values = {**known, **params}
        return all(each.holds(values) for each in self._conditions if each.names <= values.keys())

    def check(self) -> None:
        """Refuse functions that fail, and a space in which no point is within the limits.

        Raises:
            UserError: With what is nearest to the limits.
        """
        first = self.configuration(next(self.points()))
        for name in first.known:
            if name in self.search.taken:
                raise UserError(
                    f"cost: {name} is what trials have already; give the cost another name"
                )
            if name in self.search.scores:
                raise UserError(
                    f"cost: {name} is a score here, which is not known before a trial; allowed: "
                    "costs, and the first of objectives is always a score"
                )
        known = {*first.params, *first.known}
        for index, each in enumerate(self._conditions):
            for name in sorted(each.names - known):
                raise UserError(
                    f"constraints.expressions.{index}: {name} is not known before a trial; "
                    f"allowed: {', '.join(sorted(known))}, and what the function cost returns"
                )
        limits = self.search.limits
        if not self._conditions and (self._cost is None or not limits):
            return
        nearest = (math.inf, "", 0.0)
        for point in self.shuffled(random.Random(0)):
            costs = self.known_costs(point)
            if not self.meets_expressions(self.values(point), costs):
                continue
            excess = [(costs[n] / limit, n, costs[n]) for n, limit in limits.items() if n in costs]
            if max(excess, default=(0.0,))[0] <= 1.0:
                return
            nearest = min(nearest, max(excess))
        _, name, value = nearest
        if not name:
            texts = "; ".join(each.text for each in self._conditions)
            raise UserError(f"constraints.expressions: hold for no point of this space: {texts}")
        raise UserError(
            f"constraints.max_{name}: nothing can meet {limits[name]:g}; the nearest in this space "
            f"is {value:.4g}, as cost returns it"
        )


def _costs(cost: CostFunction, values: dict[str, Any]) -> dict[str, float]:
    try:
        costs = cost(values)
    except Exception as error:
        # Whatever the function raises.
        raise UserError(f"cost: {type(error).__name__}: {error}, for {values}") from error
    if not isinstance(costs, Mapping) or not all(isinstance(name, str) for name in costs):
        raise UserError(
            f"cost: returned {costs!r:.100}, of type {type(costs).__name__}; allowed: numbers "
            'above 0 by name, such as {"size_mb": 1.5}'
        )
    for name, value in costs.items():
        if (fault := number_fault(value, above_zero=True)) is not None:
            raise UserError(f"cost: {name} {fault}, for {values}")
    return {name: float(value) for name, value in costs.items()}


def stage_key(key: Any) -> str:
    """A key as text: a text is its own, anything else its JSON.

    Raises:
        TypeError: JSON cannot write it.
    """
    return key if isinstance(key, str) else json.dumps(key, sort_keys=True)


def number_fault(value: Any, *, above_zero: bool = False) -> str | None:
    """What is wrong with a metric; None for a finite number.

    Args:
        above_zero: Whether it is a cost, which is larger than 0.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return f"is {value!r:.100}, of type {type(value).__name__}; a number is allowed"
    if not math.isfinite(value):
        return f"is {float(value)}; a finite number is allowed"
    if above_zero and not float(value) > 0.0:
        return f"is {float(value):g}; a cost is a number above 0"
    return None


def value_text(value: Any) -> str:
    """A value of a dimension as text."""
    is_real = isinstance(value, float) and not isinstance(value, bool)
    return f"{value:g}" if is_real else str(value)
