"""Latencies of a whole space, known before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from search.storage.study import Study
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.cost.flops import forward_flops
from spaces.cost.workload import Workload
from spaces.errors import UserError
from spaces.grid.search_space import LatencyOf, SearchSpace

LATENCIES = "tlc:latencies"
MOST_MEASURED = 400
"""Shapes that are measured; of more, this many are, evenly chosen, and the others estimated."""

Shape = tuple[Architecture, Compression]


def measured_latencies(
    study: Study, measure: Callable[[list[Configuration]], list[float]]
) -> LatencyOf:
    """Milliseconds by configuration, noted in the study for whoever asks it; else as
    ``known_latencies``."""
    measured: list[float] = []

    def noted(configurations: list[Configuration]) -> list[float]:
        measured.extend(measure(configurations))
        return measured

    latency_of = known_latencies(study.space, noted)
    study.optuna.set_user_attr(LATENCIES, measured)
    return latency_of


def recorded_latencies(study: Study) -> LatencyOf | None:
    """Milliseconds by configuration as the driver has them; None where none were measured."""
    measured: list[float] | None = study.attributes.get(LATENCIES)
    return None if measured is None else known_latencies(study.space, lambda _: measured)


def known_latencies(
    space: SearchSpace, measure: Callable[[list[Configuration]], list[float]]
) -> LatencyOf:
    """Milliseconds by configuration, for every configuration of a space.

    Args:
        space: The search space.
        measure: Milliseconds of some configurations.

    Raises:
        UserError: Nothing meets the latency constraint.
    """
    examples = {_shape(shape): shape for shape in space.compressed_architectures()}
    shapes = list(examples)
    chosen = np.unique(np.linspace(0, len(shapes) - 1, min(len(shapes), MOST_MEASURED)).astype(int))
    measured: dict[Shape, float] = dict(
        zip(
            (shapes[k] for k in chosen),
            measure([examples[shapes[k]] for k in chosen]),
            strict=True,
        )
    )
    limit = space.criteria.limits.get("latency_ms")
    fastest = min(measured.values())
    if limit is not None and fastest > limit:
        raise UserError(
            f"constraints.max_latency_ms: nothing can meet {limit:g}; the fastest model of this "
            f"space takes {fastest:.3g} ms on this machine"
        )
    estimate = _estimate(measured, space.workload) if len(measured) < len(shapes) else None

    def latency_of(configuration: Configuration) -> float:
        shape = _shape(configuration)
        if estimate is not None and shape not in measured:
            return estimate(shape)
        return measured[shape]

    return latency_of


def _shape(configuration: Configuration) -> Shape:
    return configuration.architecture, configuration.compression.at_runtime


def _estimate(measured: dict[Shape, float], workload: Workload) -> Callable[[Shape], float]:
    """Least squares over what was measured: log latency by log FLOPs, log depth and method."""

    def known(shape: Shape) -> list[float]:
        architecture, compression = shape
        layers = compression.shape_of(architecture)
        depth = layers.depth + layers.decoder_depth
        is_static = float(compression.quantisation.is_static)
        return [1.0, math.log(forward_flops(layers, workload)), math.log(depth), is_static]

    rows = np.array([known(shape) for shape in measured])
    coefficients, *_ = np.linalg.lstsq(rows, np.log(list(measured.values())), rcond=None)
    weights: list[float] = coefficients.tolist()
    return lambda shape: math.exp(sum(k * w for k, w in zip(known(shape), weights, strict=True)))
