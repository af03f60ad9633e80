"""The search space as Optuna's distributions, each under the name and with the values of the file.

The study stores evenly spaced numbers as numbers, and every other dimension as a category, so that
Optuna's dashboard and plots show what a person wrote. Samplers that use the order of values read
the study as an ``OrdinalStudy``, where such a category is the index of its value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from search.storage.trials import REPEATS
from spaces.cost.configuration import Configuration
from spaces.grid.grid import Dimension, Point

LEAST_STEP = 1e-6

if TYPE_CHECKING:
    from spaces.grid.search_space import SearchSpace


class HasDimensions(Protocol):
    """The part of a space that is stored."""

    dimensions: tuple[Dimension, ...]


def distributions(space: HasDimensions) -> dict[str, BaseDistribution]:
    """What the study stores, by the name of the dimension."""
    return {d.name: _stored_as(d) for d in space.dimensions}


def restored_in(before: Dimension, after: Dimension) -> Callable[[float], float]:
    """From the number that the study stores for a value of a dimension to the one that stands for
    it in another dimension, which has the value too."""
    old, new = _stored_as(before), _stored_as(after)

    def stored(number: float) -> float:
        value = before.values[_index(before, old.to_external_repr(number))]
        return new.to_internal_repr(value)

    return stored


def ordinal_distributions(space: HasDimensions) -> dict[str, BaseDistribution]:
    """The same with categories as indices of their values."""
    return {
        d.name: _even(d) if _is_even(d) else IntDistribution(0, len(d.values) - 1)
        for d in space.dimensions
    }


def configuration_from(space: SearchSpace, parameters: dict[str, Any]) -> Configuration:
    """The configuration of a trial's parameters."""
    return space.configuration(point_from(space, parameters))


def point_from(space: HasDimensions, parameters: dict[str, Any]) -> Point:
    """The grid point of a trial's parameters."""
    return tuple(_index(d, parameters[d.name]) for d in space.dimensions)


def parameters_from(space: HasDimensions, point: Point) -> dict[str, Any]:
    """A trial's parameters at a grid point."""
    return {d.name: d.values[index] for d, index in zip(space.dimensions, point, strict=True)}


def point_from_ordinal(space: HasDimensions, parameters: dict[str, Any]) -> Point:
    """The grid point of parameters that were drawn from ``ordinal_distributions``."""
    return tuple(
        _index(d, parameters[d.name]) if _is_even(d) else int(parameters[d.name])
        for d in space.dimensions
    )


def without_repeats(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Trials of a study that are no repeats with further seeds of training."""
    return [trial for trial in trials if REPEATS not in trial.user_attrs]


class OrdinalStudy:
    """A study as a sampler reads it whose categories are the indices of their values.

    Args:
        study: The study.
        space: Its search space.
    """

    def __init__(self, study: Study, space: HasDimensions) -> None:
        self._study = study
        self._categories = {d.name: d for d in space.dimensions if not _is_even(d)}
        self._distributions = ordinal_distributions(space)
        self._finished: dict[int, FrozenTrial] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        """What Optuna's samplers call for the trials of a study; repeats are no proposals."""
        return list(map(self._ordinal, without_repeats(self._study._get_trials(*args, **kwargs))))

    def _ordinal(self, trial: FrozenTrial) -> FrozenTrial:
        known = self._finished.get(trial.number)
        if known is not None:
            return known
        ordinal = copy(trial)
        ordinal.params = {
            name: _index(self._categories[name], value) if name in self._categories else value
            for name, value in trial.params.items()
        }
        ordinal.distributions = {
            name: self._distributions.get(name, distribution)
            for name, distribution in trial.distributions.items()
        }
        if trial.state.is_finished():
            self._finished[trial.number] = ordinal
        return ordinal


def _stored_as(dimension: Dimension) -> BaseDistribution:
    return _even(dimension) if _is_even(dimension) else CategoricalDistribution(dimension.values)


@lru_cache
def _is_even(dimension: Dimension) -> bool:
    values = dimension.values
    if len(values) < 2 or not dimension.is_numeric:
        return False
    step = _step(dimension)
    # Optuna rounds steps, and leaves out a last value that they do not reach exactly.
    return (
        step >= LEAST_STEP
        and all(abs(b - a - step) < 1e-9 * max(abs(b), 1) for a, b in pairwise(values))
        and (_decimal(values[-1]) - _decimal(values[0])) % _decimal(round(step, 10)) == 0
    )


def _decimal(value: Any) -> Decimal:
    return Decimal(str(value))


def _index(dimension: Dimension, value: Any) -> int:
    if not _is_even(dimension):
        return dimension.values.index(value)
    steps: int = round((value - dimension.values[0]) / _step(dimension))
    return steps


def _step(dimension: Dimension) -> Any:
    return dimension.values[1] - dimension.values[0]


def _even(dimension: Dimension) -> BaseDistribution:
    values = dimension.values
    if all(isinstance(value, int) for value in values):
        return IntDistribution(values[0], values[-1], step=_step(dimension))
    return FloatDistribution(values[0], values[-1], step=round(_step(dimension), 10))
