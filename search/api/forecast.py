"""How long a search will take on this machine, from two measured speeds of training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from objectives.completion import completed
from objectives.data.batch_lengths import batch_lengths
from objectives.data.inspection.overview import Overview, overview
from objectives.objective import Objective
from search.proposal.machine import cores
from spaces.cost.metric import text
from spaces.errors import UserError
from spaces.file.storage import Locations
from spaces.grid.plan import Plan, make_plan
from spaces.grid.search_space import SearchSpace
from spaces.loading import Overrides, SearchLike, read_search

START_SECONDS = 12.0
"""Until Ray and its workers have started."""
END_SECONDS = 8.0
"""For the test split of the frontier, the figures and MLflow, after the last trial."""
SECONDS_OF_A_TRIAL = 2.0
"""Compression and measurement of a small model, beside its training."""


@dataclass(frozen=True)
class Forecast:
    """What was measured, and what follows for a search.

    Args:
        name: Name of the search.
        metric: Name of its score.
        data: What its data holds.
        plan: What it costs by arithmetic.
        steps_per_second: Steps of training of the smallest and of the largest model, by its
            configuration, alone on this machine.
        references: Each reference with its score on validation.
        training_seconds: Training of all trials, at most, one after another.
        trials_at_a_time: Trials that run at the same time.
        hours: Of all trials, at most, with the start.
        trials_in_time: Trials that fit into the hours of the search; None without hours.
    """

    name: str
    metric: str
    data: Overview
    plan: Plan
    steps_per_second: dict[str, float]
    references: Sequence[dict[str, Any]]
    training_seconds: float
    trials_at_a_time: int
    hours: float
    trials_in_time: int | None

    def score_of(self, reference: dict[str, Any]) -> str:
        """The score of a reference, with the name of the metric."""
        return f"{self.metric} {text(self.metric, reference['scores']['validation']['score'])}"


def forecast(given: SearchLike, overrides: Overrides = ()) -> Forecast:
    """Open the data of a search, and measure what its smallest and its largest model take.

    A step takes a part of a second whatever its model, and another that grows with its FLOPs; both
    are known from two models. Budgets of one architecture share their path but for its decay.

    Args:
        given: As of ``plan_search``.

    Raises:
        UserError: The search file or its data cannot be used, the search starts from several
            checkpoints, or its budgets are in seconds, which need no forecast.
    """
    search = read_search(given, overrides)
    search, _ = completed(search, Locations.of(search.storage).data)
    if search.checkpoints:
        raise UserError("--hours: a search of several checkpoints has no forecast")
    objective = Objective(search)
    lengths = batch_lengths(objective.data, search.task.name, search.training.batch_size)
    space = SearchSpace(search, lengths={"": lengths}.get)
    examples = objective.data.labelled_examples
    plan = make_plan(space, search.trials, seeds=search.seeds, labelled_examples=examples)
    if plan.training_flops is None:
        raise UserError("--hours: budgets in seconds say what training takes; see tlc plan")
    started = time.monotonic()
    references = objective.references(["validation"])
    start = START_SECONDS + time.monotonic() - started
    ends = (plan.examples[0].configuration, plan.examples[-1].configuration)
    speeds: dict[str, float] = {}
    points: list[tuple[float, float]] = []
    for configuration in ends:
        architecture, budget = configuration.architecture, configuration.budget
        speed = objective.speed_cache.of(architecture).steps_per_second
        speeds[str(architecture)] = speed
        flops = space.training_flops(budget, architecture)
        points.append((flops / space.steps(budget, architecture).total, 1.0 / speed))
    training = _training_seconds(space, search.space.budget.values, _line(*points), plan)
    at_a_time = search.concurrency or max(1, cores() // search.resources.cpus)
    trials = (training + SECONDS_OF_A_TRIAL * plan.trials) / at_a_time
    fitting = None
    if search.hours is not None:
        fitting = min(plan.trials, int(plan.trials * 3600 * search.hours / trials))
    return Forecast(
        search.name,
        search.metric.name,
        overview(objective.data),
        plan,
        speeds,
        references,
        training,
        at_a_time,
        (start + trials + END_SECONDS) / 3600,
        fitting,
    )


def _training_seconds(
    space: SearchSpace, budgets: Sequence[float], line: tuple[float, float], plan: Plan
) -> float:
    """Seconds in which all trials are trained, at most: every architecture to every budget, or as
    many trainings as there are trials."""
    fixed, of_flops = line
    tuning = plan.fine_tuning_steps or 0
    seconds, count = 0.0, 0
    for architecture in space.architectures():
        longest = 0.0
        for budget in budgets:
            steps = space.steps(budget, architecture)
            flops = space.training_flops(budget, architecture, fine_tuning_steps=tuning)
            taken = fixed * (steps.total + tuning) + of_flops * flops
            shared = taken * steps.stable / (steps.total + tuning)
            seconds += taken - shared
            longest = max(longest, shared)
            count += 1
        seconds += longest
    return min(seconds, plan.trials * seconds / count)


def _line(small: tuple[float, float], large: tuple[float, float]) -> tuple[float, float]:
    """Seconds of a step without FLOPs, and those of a FLOP, from two models; neither is below 0."""
    (few, short), (many, long) = small, large
    if many <= few or long <= short:
        return 0.0, max(short / few, long / many)
    slope = (long - short) / (many - few)
    return (short - slope * few, slope) if short > slope * few else (0.0, long / many)
