"""The search space in Optuna's words: distributions and parameters of a grid point."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from spaces.cost.configuration import Configuration
from spaces.grid.search_space import Dimension, Point, SearchSpace


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Evenly spaced numbers as they are, all else as ordinal integers named ``…_index``."""
    return {_parameter(dimension): _distribution(dimension) for dimension in space.dimensions}


def configuration_from(space: SearchSpace, parameters: dict[str, Any]) -> Configuration:
    """The configuration that Optuna's parameters mean."""
    return space.configuration(point_from(space, parameters))


def point_from(space: SearchSpace, parameters: dict[str, Any]) -> Point:
    """The grid point that Optuna's parameters mean."""
    return tuple(
        round((parameters[_parameter(d)] - d.values[0]) / _step(d))
        if _is_even(d)
        else int(parameters[_parameter(d)])
        for d in space.dimensions
    )


def parameters_from(space: SearchSpace, point: Point) -> dict[str, Any]:
    """Optuna's parameters for a grid point."""
    return {
        _parameter(d): d.values[index] if _is_even(d) else index
        for d, index in zip(space.dimensions, point, strict=True)
    }


@lru_cache
def _is_even(dimension: Dimension) -> bool:
    values = dimension.values
    if len(values) < 2 or not all(isinstance(value, int | float) for value in values):
        return False
    step = values[1] - values[0]
    return step > 0 and all(abs(b - a - step) < 1e-9 * max(abs(b), 1) for a, b in pairwise(values))


def _step(dimension: Dimension) -> Any:
    return dimension.values[1] - dimension.values[0]


def _parameter(dimension: Dimension) -> str:
    return dimension.name if _is_even(dimension) else f"{dimension.name}_index"


def _distribution(dimension: Dimension) -> BaseDistribution:
    values = dimension.values
    if not _is_even(dimension):
        return IntDistribution(0, len(values) - 1)
    if all(isinstance(value, int) for value in values):
        return IntDistribution(values[0], values[-1], step=_step(dimension))
    return FloatDistribution(values[0], values[-1], step=round(_step(dimension), 10))
