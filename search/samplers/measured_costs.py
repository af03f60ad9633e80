"""Costs of a whole space that are measured on untrained models before the search."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from objectives.measurement.slowdown import MeasuredCost, MeasuredTimes, corrected
from search.samplers.estimates import evenly_spread, log_linear
from search.storage.study import Study
from search.storage.widening import MEASURED
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, RuntimeName
from spaces.cost.configuration import Configuration
from spaces.cost.criteria import named_costs
from spaces.cost.flops import forward_flops
from spaces.cost.inference_cost import COSTS, Cost
from spaces.errors import UserError
from spaces.grid.search_space import CostOf, MeasuredCosts, SearchSpace

MOST_MEASURED = 400
"""Shapes that are measured at most, evenly spread; the costs of others are estimated."""

ModelShape = tuple[Architecture, Compression]
"""What a measured cost depends on."""


Measure = Callable[[str, list[Configuration]], list[MeasuredCost]]
"""Measures the cost of a name, of some configurations."""


def measured_costs(study: Study, measure: Measure) -> MeasuredCosts:
    """The costs of a study's space that are measured; they are recorded in the study.

    Raises:
        UserError: No configuration meets the limit of one.
    """
    found: dict[str, CostOf] = {}
    recorded: dict[str, list[MeasuredCost]] = {}
    for cost in costs_to_measure(study.space):

        def values(configurations: list[Configuration], cost: Cost = cost) -> list[float]:
            recorded[cost.name] = measured = measure(cost.name, configurations)
            study.learn_references([each for each in measured if isinstance(each, MeasuredTimes)])
            best = study.best_references()
            return [corrected(each, best) for each in measured]

        found[cost.name] = known_cost(study.space, cost, values)
    study.optuna.set_user_attr(MEASURED, recorded)
    # A later measurement may have seen the reference faster.
    return recorded_costs(study)


def recorded_costs(study: Study) -> MeasuredCosts:
    """The measured costs that the search recorded in its study, by the reference as it is known
    now; empty where it measured none."""
    recorded: dict[str, list[Any]] = study.attributes.get(MEASURED, {})
    best, found = study.best_references(), {}
    for name, values in recorded.items():
        measured = [MeasuredTimes(*v) if isinstance(v, list | tuple) else float(v) for v in values]
        now = [corrected(each, best) for each in measured]
        found[name] = known_cost(study.space, COSTS[name], partial(_given, now))
    return found


def _given(values: list[float], _: list[Configuration]) -> list[float]:
    return values


def costs_to_measure(space: SearchSpace) -> tuple[Cost, ...]:
    """The costs that a search limits or weighs, and that arithmetic does not know."""
    search = space.search
    named = named_costs(search.objectives, search.constraints.limits)
    return tuple(cost for cost in named if cost.is_measured)


def known_cost(
    space: SearchSpace, cost: Cost, measure: Callable[[list[Configuration]], list[float]]
) -> CostOf:
    """A function from configurations of a space to a measured cost.

    Args:
        measure: Measures the cost of some configurations.

    Raises:
        UserError: No configuration meets its limit.
    """
    runtime = space.search.measurement.runtime
    examples = {_shape(shape, runtime): shape for shape in space.compressed_architectures()}
    chosen = evenly_spread(list(examples), MOST_MEASURED)
    values = measure([examples[shape] for shape in chosen])
    measured = dict(zip(chosen, values, strict=True))
    limit = space.criteria.limits.get(cost.name)
    least = min(measured.values())
    if limit is not None and least > limit:
        raise UserError(
            f"constraints.{cost.constraint}: nothing can meet {limit:g}; the least {cost.noun} in "
            f"this space is {cost.text(least)} on this machine"
        )
    estimate = _estimate(measured, space) if len(measured) < len(examples) else None

    def cost_of(configuration: Configuration) -> float:
        shape = _shape(configuration, runtime)
        return measured[shape] if estimate is None or shape in measured else estimate(shape)

    return cost_of


def _shape(configuration: Configuration, runtime: RuntimeName) -> ModelShape:
    return configuration.architecture, configuration.compression.at_runtime(runtime)


def _estimate(
    measured: dict[ModelShape, float], space: SearchSpace
) -> Callable[[ModelShape], float]:
    """Least squares over the measured shapes: log cost by log FLOPs, log depth and method."""

    def features(shape: ModelShape) -> list[float]:
        architecture, compression = shape
        layers = compression.shape_of(architecture)
        workload = space.workload_of(architecture.checkpoint)
        depth = layers.depth + layers.decoder_depth
        methods = (compression.quantisation.method == name for name in ("static", "rtn", "hqq"))
        return [
            1.0, math.log(forward_flops(layers, workload)), math.log(depth), *map(float, methods)
        ]  # fmt: skip

    return log_linear(measured, features)
