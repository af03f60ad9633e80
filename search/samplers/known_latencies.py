"""Latencies of a whole space, measured on untrained models before the search."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from objectives.measurement.slowdown import BestReferences, MeasuredTimes
from search.samplers.estimates import evenly_spread, log_linear
from search.storage.study import Study
from search.storage.widening import LATENCIES
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, RuntimeName
from spaces.cost.configuration import Configuration
from spaces.cost.flops import forward_flops
from spaces.errors import UserError
from spaces.grid.search_space import LatencyOf, SearchSpace

MOST_MEASURED = 400
"""Shapes that are measured at most, evenly spread; the latencies of others are estimated."""

ModelShape = tuple[Architecture, Compression]
"""What latency depends on."""


def measured_latencies(
    study: Study, measure: Callable[[list[Configuration]], list[MeasuredTimes]]
) -> LatencyOf:
    """``known_latencies`` of a study's space, which are recorded in the study."""
    measured: list[MeasuredTimes] = []

    def recorded(configurations: list[Configuration]) -> list[float]:
        measured.extend(measure(configurations))
        study.learn_references(measured)
        return _corrected(measured, study.best_references())

    latency_of = known_latencies(study.space, recorded)
    study.optuna.set_user_attr(LATENCIES, measured)
    return latency_of


def recorded_latencies(study: Study) -> LatencyOf | None:
    """The latencies that the search recorded in its study, by the reference as it is known now;
    None where it measured none."""
    recorded: list[list[Any]] | None = study.attributes.get(LATENCIES)
    if recorded is None:
        return None
    measured = [MeasuredTimes(*each) for each in recorded]
    corrected = _corrected(measured, study.best_references())
    return known_latencies(study.space, lambda _: corrected)


def _corrected(measured: Iterable[MeasuredTimes], best: BestReferences) -> list[float]:
    return [each.corrected_ms(best[each.conditions]) for each in measured]


def known_latencies(
    space: SearchSpace, measure: Callable[[list[Configuration]], list[float]]
) -> LatencyOf:
    """A function from configurations of a space to their milliseconds.

    Args:
        measure: Measures the milliseconds of some configurations.

    Raises:
        UserError: No configuration meets the latency constraint.
    """
    runtime = space.search.measurement.runtime
    examples = {_shape(shape, runtime): shape for shape in space.compressed_architectures()}
    chosen = evenly_spread(list(examples), MOST_MEASURED)
    milliseconds = measure([examples[shape] for shape in chosen])
    measured = dict(zip(chosen, milliseconds, strict=True))
    limit = space.criteria.limits.get("latency_ms")
    fastest = min(measured.values())
    if limit is not None and fastest > limit:
        raise UserError(
            f"constraints.max_latency_ms: nothing can meet {limit:g}; the fastest model of this "
            f"space takes {fastest:.3g} ms on this machine"
        )
    estimate = _estimate(measured, space) if len(measured) < len(examples) else None

    def latency_of(configuration: Configuration) -> float:
        shape = _shape(configuration, runtime)
        return measured[shape] if estimate is None or shape in measured else estimate(shape)

    return latency_of


def _shape(configuration: Configuration, runtime: RuntimeName) -> ModelShape:
    return configuration.architecture, configuration.compression.at_runtime(runtime)


def _estimate(
    measured: dict[ModelShape, float], space: SearchSpace
) -> Callable[[ModelShape], float]:
    """Least squares over the measured shapes: log latency by log FLOPs, log depth and method."""

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
