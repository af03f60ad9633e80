"""Costs of a whole space that are measured on untrained models before the search.

Every shape of a small space is measured. Of a larger one, some dozen are, which fill the space, and
more of those that come near a limit; the others are predicted from these. A trial measures its own
model in any case, and an untrained one before it trains where there is a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from objectives.measurement.slowdown import MeasuredCost, MeasuredTimes, corrected
from search.arrays import Floats
from search.samplers.estimates import evenly_spread
from search.samplers.forward_work import Work, work_of
from search.samplers.predicted_costs import (
    OF_MEMORY,
    OF_TIME,
    CostModel,
    PredictionError,
    cross_validated,
    well_spread,
)
from search.storage.study import Study
from search.storage.widening import MEASURED
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.cost.criteria import named_costs
from spaces.cost.inference_cost import COSTS, Cost
from spaces.errors import UserError
from spaces.grid.search_space import SearchSpace

MOST_SHAPES = 100
"""A space with more shapes is measured in part."""
MEASURED_SHAPES, NEAR_LIMIT = 30, 10
"""Shapes that are measured of a larger space; and further ones that come near a limit."""
MOST_COMPARED = 20_000
"""Shapes among which these are chosen."""

ModelShape = tuple[Architecture, Compression]
"""What a measured cost depends on."""

Measure = Callable[[str, list[Configuration]], list[MeasuredCost]]
"""Measures the cost of a name, of some configurations."""


class KnownCost:
    """A measured cost as a function of the configurations of a space.

    Args:
        measured: Some of them, one of each shape, and their costs.
    """

    def __init__(
        self, space: SearchSpace, cost: Cost, measured: Iterable[tuple[Configuration, float]]
    ) -> None:
        self._space = space
        self._cost = cost
        self._columns = OF_MEMORY if cost.is_of_storage else OF_TIME
        self._known = {_shape(space, cost, each): value for each, value in measured}
        self._measured = dict(self._known)

    def __call__(self, configuration: Configuration) -> float:
        """The measured or predicted cost of a configuration."""
        shape = _shape(self._space, self._cost, configuration)
        if shape not in self._known:
            (self._known[shape],) = self._model.predict([_work(self._space, shape)]).tolist()
        return self._known[shape]

    @property
    def measured(self) -> int:
        """Number of measured shapes."""
        return len(self._measured)

    @cached_property
    def error(self) -> PredictionError:
        """The error of predictions, cross-validated on what was measured."""
        return cross_validated(self._columns, *self._measurements)

    @cached_property
    def _model(self) -> CostModel:
        return CostModel.fitted(self._columns, *self._measurements)

    @property
    def _measurements(self) -> tuple[list[Work], Floats]:
        works = [_work(self._space, shape) for shape in self._measured]
        return works, np.array(list(self._measured.values()))


def measured_costs(
    study: Study, measure: Measure, inform: Callable[[str], None] = lambda line: None
) -> dict[str, KnownCost]:
    """The costs of a study's space that are measured; they are recorded in the study.

    Args:
        inform: Called with a line on each cost that is predicted for most of the space.

    Raises:
        UserError: No configuration meets the limit of one.
    """
    recorded: dict[str, list[tuple[dict[str, Any], MeasuredCost]]] = {}
    for cost in costs_to_measure(study.space):
        pairs = recorded[cost.name] = []

        def values(
            configurations: list[Configuration],
            name: str = cost.name,
            pairs: list[tuple[dict[str, Any], MeasuredCost]] = pairs,
        ) -> list[float]:
            measured = measure(name, configurations)
            study.learn_references([each for each in measured if isinstance(each, MeasuredTimes)])
            pairs += [
                (c.to_dict(), value) for c, value in zip(configurations, measured, strict=True)
            ]
            best = study.best_references()
            return [corrected(each, best) for each in measured]

        known, shapes = known_cost(study.space, cost, values), len(shapes_of(study.space, cost))
        if known.measured < shapes:
            inform(
                f"{cost.noun}: {known.measured} of {shapes:,} shapes are measured; the others are "
                f"predicted, with an error of {known.error}"
            )
    study.optuna.set_user_attr(MEASURED, recorded)
    # A later measurement may have seen the reference faster.
    return recorded_costs(study)


def recorded_costs(study: Study) -> dict[str, KnownCost]:
    """The measured costs that the search recorded in its study, by the reference as it is known
    now; empty where it measured none."""
    recorded: dict[str, list[tuple[dict[str, Any], Any]]] = study.attributes.get(MEASURED, {})
    best = study.best_references()
    return {
        name: KnownCost(
            study.space,
            COSTS[name],
            [(Configuration.from_dict(given), corrected(_read(v), best)) for given, v in pairs],
        )
        for name, pairs in recorded.items()
    }


def _read(recorded: Any) -> MeasuredCost:
    return MeasuredTimes(*recorded) if isinstance(recorded, list | tuple) else float(recorded)


def costs_to_measure(space: SearchSpace) -> tuple[Cost, ...]:
    """The costs that a search limits or weighs, and that arithmetic does not know."""
    search = space.search
    named = named_costs(search.objectives, search.constraints.limits)
    return tuple(cost for cost in named if cost.is_measured)


def known_cost(
    space: SearchSpace, cost: Cost, measure: Callable[[list[Configuration]], list[float]]
) -> KnownCost:
    """A measured cost of the configurations of a space.

    Args:
        measure: Measures the cost of some configurations.

    Raises:
        UserError: No configuration meets its limit.
    """
    shapes = shapes_of(space, cost)
    limit = space.criteria.limits.get(cost.name)
    measured: list[tuple[Configuration, float]] = []

    def known_with(chosen: list[ModelShape]) -> KnownCost:
        configurations = [shapes[shape] for shape in chosen]
        measured.extend(zip(configurations, measure(configurations), strict=True))
        return KnownCost(space, cost, measured)

    if len(shapes) <= MOST_SHAPES:
        known = known_with(list(shapes))
    else:
        known = known_with(_spread(space, list(shapes), MEASURED_SHAPES))
        if limit is not None:
            done, tolerance = {each for each, _ in measured}, known.error.p90
            near = [
                shape
                for shape, example in shapes.items()
                if example not in done and abs(known(example) / limit - 1.0) <= tolerance
            ]
            if near:
                known = known_with(_spread(space, near, NEAR_LIMIT))
    if limit is not None and (least := min(map(known, shapes.values()))) > limit:
        raise UserError(
            f"constraints.{cost.constraint}: nothing can meet {limit:g}; the least {cost.noun} in "
            f"this space is {cost.text(least)} on this machine"
        )
    return known


def shapes_of(space: SearchSpace, cost: Cost) -> dict[ModelShape, Configuration]:
    """What a measured cost of a space depends on, each with a configuration that has it."""
    return {_shape(space, cost, each): each for each in space.compressed_architectures()}


def _spread(space: SearchSpace, shapes: list[ModelShape], most: int) -> list[ModelShape]:
    compared = evenly_spread(shapes, MOST_COMPARED)
    works = [_work(space, shape) for shape in compared]
    return [compared[index] for index in well_spread(works, most)]


def _work(space: SearchSpace, shape: ModelShape) -> Work:
    architecture, compression = shape
    workload = space.workload_of(architecture.checkpoint)
    return work_of(architecture, compression, workload, space.search.measurement.runtime)


def _shape(space: SearchSpace, cost: Cost, configuration: Configuration) -> ModelShape:
    if cost.is_of_storage:
        compression = replace(configuration.canonical().compression, recovery=0.0)
    else:
        compression = configuration.compression.at_runtime(space.search.measurement.runtime)
    return configuration.architecture, compression
