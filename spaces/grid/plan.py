"""A dry run: what a search would cost, by arithmetic alone."""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass

from spaces.cost.configuration import Configuration
from spaces.cost.families import parameters
from spaces.grid.search_space import SearchSpace

LARGEST_COUNT = 50_000
"""Larger spaces are judged by a random sample of this many points."""

ADAM_BYTES_PER_PARAMETER = 12
"""A resume point: fp32 weights and two fp32 moments."""
FINAL_BYTES_PER_PARAMETER = 8
"""The pre-trained and the fine-tuned model, fp32."""


@dataclass(frozen=True)
class Example:
    """One configuration of the space and what it costs.

    Args:
        kind: ``smallest``, ``typical`` or ``largest`` (by size on disk).
        configuration: The configuration.
        parameters: Parameters before compression.
        size_mb: Megabytes on disk after compression.
        forward_flops: FLOPs for one sequence.
        training_flops: FLOPs of its training.
        steps: Optimiser steps of its training.
    """

    kind: str
    configuration: Configuration
    parameters: int
    size_mb: float
    forward_flops: int
    training_flops: int
    steps: int


@dataclass(frozen=True)
class Plan:
    """What a search would cost.

    Args:
        configurations: Points of the space.
        feasible: Points that arithmetic leaves a chance to meet the constraints; estimated where
            the space is larger than what was examined.
        examined: Points that were examined.
        examples: Smallest, typical and largest of the feasible.
        trials: Trials of the search, at most the feasible points.
        training_flops: Projected training FLOPs of all trials; an upper limit, because trials
            share what they can.
        disk_bytes: Projected bytes of checkpoints and models.
    """

    configurations: int
    feasible: int
    examined: int
    examples: tuple[Example, ...]
    trials: int
    training_flops: float
    disk_bytes: float


def make_plan(space: SearchSpace, trials: int) -> Plan:
    """Estimate what so many trials of a valid space would cost."""
    points = _points(space)
    feasible = [c for c in map(space.configuration, points) if space.is_feasible(c)]
    share = len(feasible) / len(points)
    count = max(1, len(feasible) if len(points) == space.size else round(share * space.size))
    # A valid file has one, which may be too rare for the sample.
    feasible = feasible or [next(filter(space.is_feasible, space.compressed_architectures()))]
    feasible.sort(key=lambda c: (space.cost(c).size_mb, _training_flops(space, c)))
    trials = min(trials, count)
    flops = statistics.fmean(_training_flops(space, c) for c in feasible)
    sizes = [parameters(c.architecture, space.workload) for c in feasible]
    per_trial = ADAM_BYTES_PER_PARAMETER + FINAL_BYTES_PER_PARAMETER
    disk = trials * (
        per_trial * statistics.fmean(sizes)
        + 1e6 * statistics.fmean(space.cost(c).size_mb for c in feasible)
    )
    kinds = {"smallest": 0, "typical": len(feasible) // 2, "largest": -1}
    return Plan(
        configurations=space.size,
        feasible=count,
        examined=len(points),
        examples=tuple(_example(space, kind, feasible[i]) for kind, i in kinds.items()),
        trials=trials,
        training_flops=min(trials * flops, _all_training(space, feasible)),
        disk_bytes=disk,
    )


def _points(space: SearchSpace) -> list[tuple[int, ...]]:
    if space.size <= LARGEST_COUNT:
        return list(space.points())
    rng = random.Random(0)
    return [space.random_point(rng) for _ in range(LARGEST_COUNT)]


def _all_training(space: SearchSpace, configurations: list[Configuration]) -> float:
    """FLOPs of training every architecture to every budget once: no search needs more."""
    distinct = {(c.architecture, c.budget): c for c in configurations}
    return float(sum(_training_flops(space, c) for c in distinct.values()))


def _training_flops(space: SearchSpace, configuration: Configuration) -> int:
    return space.schedule.training_flops(
        configuration.budget,
        configuration.architecture,
        space.workload,
        recovery=configuration.compression.recovery,
    )


def _example(space: SearchSpace, kind: str, configuration: Configuration) -> Example:
    architecture = configuration.architecture
    cost = space.cost(configuration)
    steps = space.schedule.steps(
        configuration.budget,
        architecture,
        space.workload,
        recovery=configuration.compression.recovery,
    )
    return Example(
        kind=kind,
        configuration=configuration,
        parameters=parameters(architecture, space.workload),
        size_mb=cost.size_mb,
        forward_flops=cost.flops,
        training_flops=_training_flops(space, configuration),
        steps=steps.total,
    )
