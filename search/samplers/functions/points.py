"""The points of a function that a sampler compares, and their features."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from search.arrays import Floats, Integers
from search.samplers.frontier.design_space import grid_neighbours
from search.samplers.frontier.features import is_in_doublings, setting_feature
from search.samplers.functions.regression import LogRegression
from search.storage.optuna_space import point_from
from spaces.functions.points import MOST_DRAWN, FunctionSpace
from spaces.grid.grid import Dimension


class Points:
    """The points that a sampler compares: all of a space, or of a large one a part.

    Args:
        tried: Parameters of trials, whose points are part of it.
        seed: Of the random part.
        earlier: Parameters of trials of earlier searches. Those that are no points of the space
            have features too, after those of the points.
    """

    def __init__(
        self,
        space: FunctionSpace,
        tried: Iterable[dict[str, Any]],
        seed: int,
        earlier: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.space = space
        self._sizes = [len(dimension.values) for dimension in space.dimensions]
        inside = [*tried, *(each for each in earlier if self._has(each))]
        self._rows = self._chosen([self._row(each) for each in inside], seed)
        """The place of each point among all of the space, ascending."""
        outside = {_key(each): each for each in earlier if not self._has(each)}
        self._outside = {key: len(self._rows) + place for place, key in enumerate(outside)}
        """Indices of what is no point of the space."""
        indices = np.unravel_index(self._rows, self._sizes)
        numeric, categories = [], []
        self.settings: tuple[bool, ...] = ()
        for dimension, places in zip(space.dimensions, indices, strict=True):
            further = [each[dimension.name] for each in outside.values()]
            values = list(dict.fromkeys([*dimension.values, *further]))
            place = np.concatenate([places, [values.index(each) for each in further]]).astype(int)
            every = Dimension(dimension.name, tuple(values))
            if len(values) > 1 and every.is_numeric:
                column = np.array(values, dtype=np.float64)
                self.settings += (is_in_doublings(column),)
                numeric.append(setting_feature(column)[place])
            elif len(values) > 1:
                categories += [place == value for value in range(len(values))]
        columns = [*numeric, *categories]
        self.features: Floats = (
            np.column_stack(columns).astype(np.float64)
            if columns
            else np.zeros((len(self._rows) + len(outside), 0))
        )
        self.regression = LogRegression(self.features, squared=len(numeric))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def outside(self) -> int:
        """Features after those of the points."""
        return len(self._outside)

    def index(self, parameters: dict[str, Any]) -> int | None:
        """The index of some parameters of Optuna; None where they are not among the points."""
        if self._outside and (outside := self._outside.get(_key(parameters))) is not None:
            return outside
        row = self._row(parameters)
        found = int(np.searchsorted(self._rows, row))
        return found if found < len(self._rows) and self._rows[found] == row else None

    def parameters(self, index: int) -> dict[str, Any]:
        """Optuna's parameters of a point."""
        return self.space.values(self._point(index))

    def stages(self) -> list[tuple[str, ...]]:
        """Keys of the stages of each point, and none for what is no point of the space."""
        if not self.space.has_stages:
            return [()] * len(self.features)
        every = [self.space.stages(self._point(index)) for index in range(len(self))]
        return [*every, *[()] * self.outside]

    def neighbours(self, index: int) -> Iterable[int]:
        """Points that differ from one by one value of one dimension."""
        for row in grid_neighbours(int(self._rows[index]), self._sizes):
            near = int(np.searchsorted(self._rows, row))
            if near < len(self._rows) and self._rows[near] == row:
                yield near

    def known_costs(self, index: int) -> Mapping[str, float]:
        """What is known of the costs of a point before a trial."""
        return self.space.known_costs(self._point(index))

    def is_allowed(self, index: int) -> bool:
        """Whether the expressions of the constraints hold at a point."""
        params = self.space.values(self._point(index))
        return self.space.meets_expressions(params, self.known_costs(index))

    def _point(self, index: int) -> tuple[int, ...]:
        return tuple(map(int, np.unravel_index(self._rows[index], self._sizes)))

    def _has(self, parameters: dict[str, Any]) -> bool:
        return all(parameters[d.name] in d.values for d in self.space.dimensions)

    def _row(self, parameters: dict[str, Any]) -> int:
        return int(np.ravel_multi_index(point_from(self.space, parameters), self._sizes))

    def _chosen(self, tried: list[int], seed: int) -> Integers:
        if prod(self._sizes) <= MOST_DRAWN:
            return np.arange(prod(self._sizes))
        drawn = np.random.default_rng(seed).integers(0, prod(self._sizes), MOST_DRAWN)
        near = [row for each in tried for row in (each, *grid_neighbours(each, self._sizes))]
        return np.unique(np.concatenate([drawn, np.array(near, dtype=np.int64)]))


def _key(parameters: dict[str, Any]) -> str:
    return json.dumps(parameters, sort_keys=True)
