"""A dry run: what a search would cost, by arithmetic alone."""

from __future__ import annotations

import math
import random
from collections.abc import Hashable
from dataclasses import dataclass
from statistics import fmean

from spaces.cost.configuration import Configuration
from spaces.cost.families import parameters
from spaces.cost.units import BudgetUnit
from spaces.grid.gpus import ModelMemory, smallest_and_largest
from spaces.grid.search_space import SearchSpace
from spaces.grid.side_by_side import stable_paths

MAX_EXAMINED = 20_000
"""Larger spaces are estimated from a random sample of this many points."""

STORED_BYTES_PER_PARAMETER = 12 + 8
"""A checkpoint (fp32 weights and the two moments of Adam), and the pre-trained and fine-tuned
models in fp32."""

FRONTIER_GROWTH = 1.5
"""A frontier of n trials has about this many times the square root of n members: 1 (random trials)
to 2 (the frontier sampler) on the recorded tables and in the default search."""


@dataclass(frozen=True)
class Example:
    """One configuration of the space and what it costs.

    Args:
        kind: ``smallest``, ``typical`` or ``largest`` (by size on disk).
        parameters: Parameters before compression.
        forward_flops: FLOPs for one sequence.
        training_flops: Of all ``steps``; None for a budget in seconds, before the speed of training
            is measured.
        steps: Of the budget, recovery and all epochs of fine-tuning, which may stop early; None
            likewise.
    """

    kind: str
    configuration: Configuration
    parameters: int
    size_mb: float
    forward_flops: int
    training_flops: int | None
    steps: int | None


@dataclass(frozen=True)
class Plan:
    """What a search would cost.

    Args:
        configurations: Points of the space, of which ``examined`` were evaluated.
        impossible: Combinations of its values that ask for more than their checkpoint has, where
            there are several; they are no configurations.
        excluded: Points that break an expression of the constraints; an estimate likewise.
        feasible: Points that may meet the constraints; an estimate where not all were examined.
        trials: Trials of the search, at most the feasible points.
        training_flops: Upper limit of the training FLOPs of all trials, which share prefixes; None
            for budgets in seconds.
        training_seconds: The same limit for budgets in seconds, fine-tuning apart; None for others.
        disk_bytes: Projected bytes of checkpoints and models, with those of the repeats.
        fine_tuning_steps: Most steps of fine-tuning of a model; None where there is fine-tuning and
            its examples are not counted yet, so that no figure contains it.
        stops_early: Whether fine-tuning can stop before these steps.
        memory: Predicted memory of training the models with fewest and with most parameters.
        gpu_memory_gb: Of a GPU that they train on, where it is known.
        stable_paths: Trials that can train side by side: of those examined, where not all were.
        repeats: Estimated repeats of the frontier with further seeds.
        repeat_flops: Estimate of the most training FLOPs that they take; None for budgets in
            seconds.
        repeat_seconds: The same for budgets in seconds, fine-tuning apart; None for others.
    """

    configurations: int
    impossible: int
    excluded: int
    feasible: int
    examined: int
    examples: tuple[Example, ...]
    trials: int
    training_flops: float | None
    training_seconds: float | None
    disk_bytes: float
    fine_tuning_steps: int | None
    stops_early: bool
    memory: tuple[ModelMemory, ModelMemory]
    gpu_memory_gb: float | None
    stable_paths: int
    repeats: int
    repeat_flops: float | None
    repeat_seconds: float | None


def make_plan(
    space: SearchSpace, trials: int, *, seeds: int = 1, labelled_examples: int | None = None
) -> Plan:
    """Estimate what a number of trials of a valid space would cost.

    Args:
        space: The space.
        trials: Trials of the search.
        seeds: Seeds of training of the trials on the frontier.
        labelled_examples: Those to fine-tune on, where they are counted.
    """
    fine_tuning_steps = _fine_tuning_steps(space, labelled_examples)
    rng = random.Random(0)
    examined = list(
        space.points()
        if space.size <= MAX_EXAMINED
        else (space.random_point(rng) for _ in range(MAX_EXAMINED))
    )
    meeting = [c for c in map(space.configuration, examined) if space.expressions.are_met(c)]
    feasible = [each for each in meeting if space.is_feasible(each)]
    scale = space.configurations / len(examined)
    count = round(scale * len(feasible))
    # A valid space has a feasible configuration, which the sample may have missed.
    feasible = feasible or [next(filter(space.is_feasible, space.compressed_architectures()))]
    sizes = [space.cost(each).size_mb for each in feasible]
    amounts = [_training_amount(space, each, fine_tuning_steps or 0) for each in feasible]
    order = sorted(range(len(feasible)), key=lambda index: (sizes[index], amounts[index]))
    trials = min(trials, max(1, count))
    stored_bytes = STORED_BYTES_PER_PARAMETER * fmean(_parameters(space, each) for each in feasible)
    trained = {_trained(each): amount for each, amount in zip(feasible, amounts, strict=True)}
    mean, most = fmean(amounts), float(sum(trained.values()))
    limit, is_timed = min(trials * mean, most), space.schedule.unit is BudgetUnit.SECONDS
    on_frontier = min(trials, math.ceil(FRONTIER_GROWTH * math.sqrt(trials)))
    repeats = (seeds - 1) * on_frontier
    repeat_limit = (seeds - 1) * min(on_frontier * mean, most)
    examples = {"smallest": order[0], "typical": order[len(order) // 2], "largest": order[-1]}
    return Plan(
        configurations=space.configurations,
        impossible=space.size - space.configurations,
        excluded=round(scale * (len(examined) - len(meeting))),
        feasible=max(1, count),
        examined=len(examined),
        examples=tuple(
            _example(space, kind, feasible[index], fine_tuning_steps or 0)
            for kind, index in examples.items()
        ),
        trials=trials,
        training_flops=None if is_timed else limit,
        training_seconds=limit if is_timed else None,
        disk_bytes=(trials + repeats) * (stored_bytes + 1e6 * fmean(sizes)),
        fine_tuning_steps=fine_tuning_steps,
        stops_early=space.fine_tuning is not None and space.fine_tuning.held_out > 0.0,
        memory=smallest_and_largest(space),
        gpu_memory_gb=space.search.resources.gpu_memory_gb,
        stable_paths=stable_paths(feasible),
        repeats=repeats,
        repeat_flops=None if is_timed else repeat_limit,
        repeat_seconds=repeat_limit if is_timed else None,
    )


def _trained(configuration: Configuration) -> Hashable:
    """What a training is of: no search needs more than to train every architecture to every budget
    once, with each of its settings of training."""
    return configuration.architecture, configuration.budget, configuration.training


def _fine_tuning_steps(space: SearchSpace, examples: int | None) -> int | None:
    """Most steps of fine-tuning; None where they are unknown."""
    if space.fine_tuning is None:
        return 0
    if examples is None:
        return None
    return space.fine_tuning.max_steps(examples, space.schedule.batch_size)


def _parameters(space: SearchSpace, configuration: Configuration) -> int:
    architecture = configuration.architecture
    return parameters(architecture, space.workload_of(architecture.checkpoint))


def _training_amount(
    space: SearchSpace, configuration: Configuration, fine_tuning_steps: int
) -> float:
    """Training of a configuration, in FLOPs or in the seconds of its budget."""
    architecture = configuration.architecture
    if not space.schedule.knows_steps_of(architecture):
        return configuration.budget
    return space.training_flops(
        configuration.budget,
        architecture,
        fine_tuning_steps=fine_tuning_steps,
        recovery=configuration.compression.recovery,
    )


def _example(
    space: SearchSpace, kind: str, configuration: Configuration, fine_tuning_steps: int
) -> Example:
    architecture = configuration.architecture
    budget, recovery = configuration.budget, configuration.compression.recovery
    cost, schedule = space.cost(configuration), space.schedule
    flops, steps = None, None
    if schedule.knows_steps_of(architecture):
        steps = space.steps(budget, architecture, recovery=recovery).total
        flops = space.training_flops(
            budget, architecture, fine_tuning_steps=fine_tuning_steps, recovery=recovery
        )
    return Example(
        kind=kind,
        configuration=configuration,
        parameters=_parameters(space, configuration),
        size_mb=cost.size_mb,
        forward_flops=cost.flops,
        training_flops=flops,
        steps=None if steps is None else steps + fine_tuning_steps,
    )
