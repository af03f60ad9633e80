"""What a search holds and how long it will take on this machine, from two measured speeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from objectives.completion import completed
from objectives.data.batch_lengths import batch_lengths
from objectives.data.errors import DataError
from objectives.data.inspection.overview import Overview, overview
from objectives.several_checkpoints import Objectives
from objectives.tasks import prepare_for
from search.execution.gpus.discovery import as_planned, trials_here
from search.proposal.machine import cores, gpus, this_machine
from spaces.cost.configuration import Configuration
from spaces.cost.metric import text
from spaces.cost.units import duration
from spaces.file.storage import Locations
from spaces.grid.gpus import least_placement
from spaces.grid.plan import Plan, make_plan
from spaces.grid.search_space import SearchSpace
from spaces.loading import Overrides, SearchLike, read_search

START_SECONDS = 12.0
"""Until Ray and its workers have started."""
END_SECONDS = 8.0
"""For the test split of the frontier, the figures and MLflow, after the last trial."""
SECONDS_OF_A_TRIAL = 2.0
"""Compression and measurement of a small model, beside its training."""
LONGEST_STEP = 3.0
"""Seconds of a step, by its FLOPs, above which a plan does not measure it: it does some twenty."""


@dataclass(frozen=True)
class Forecast:
    """What was measured, and what follows for a search.

    Args:
        name: Name of the search.
        metric: Name of its score.
        data: What its data holds.
        plan: What it costs by arithmetic.
        references: Each reference with its score on validation.
        steps_per_second: Steps of training of the smallest and of the largest model, by its
            configuration, alone on this machine; empty where they were not measured.
        not_measured: Why they were not; empty where they were.
        training_seconds: Training of all trials, at most, one after another; None where it is not
            known.
        trials_at_a_time: Trials that run at the same time.
        hours: Of all trials, at most, with the start; None likewise.
        trials_in_time: Trials that fit into the hours of the search; None without either.
    """

    name: str
    metric: str
    data: Overview
    plan: Plan
    references: Sequence[dict[str, Any]]
    steps_per_second: dict[str, float]
    not_measured: str
    training_seconds: float | None
    trials_at_a_time: int
    hours: float | None
    trials_in_time: int | None

    def score_of(self, reference: dict[str, Any]) -> str:
        """The score of a reference, with the name of the metric."""
        return f"{self.metric} {text(self.metric, reference['scores']['validation']['score'])}"


def forecast(
    given: SearchLike,
    overrides: Overrides = (),
    report: Callable[[str], None] = lambda _: None,
) -> Forecast:
    """Open the data of a search, and measure what its smallest and its largest model take.

    A step takes a part of a second whatever its model, and another that grows with its FLOPs; both
    are known from two models. Budgets of one architecture share their path but for its decay. The
    run finds the data as it is prepared here.

    Args:
        given: As of ``plan_search``.
        report: Called with a line before what takes time.

    Raises:
        UserError: The search file, its checkpoints or its data cannot be used.
    """
    search = read_search(given, overrides)
    folder = Locations.of(search.storage).data
    report("opening the data …")
    search, _ = completed(search, folder)
    try:
        data = {
            name: prepare_for(search.alone(name), folder) for name in search.checkpoints or [""]
        }
    except DataError as error:
        raise DataError(f"{error}; tlc plan --no-data plans without opening it") from error
    lengths = {
        name: batch_lengths(each, search.task.name, search.training.batch_size)
        for name, each in data.items()
    }
    machine = {"gpus": gpus(), "cores": cores()}
    resources = as_planned(search.resources, search.address, **machine)
    search = search.model_copy(update={"resources": resources})
    space = SearchSpace(search, lengths=lengths.get)
    first = next(iter(data.values()))
    plan = make_plan(
        space, search.trials, seeds=search.seeds, labelled_examples=first.labelled_examples
    )
    objectives = Objectives(search, [*data.values()])
    report("fitting the references …")
    started = time.monotonic()
    references = objectives.references(["validation"])
    start = START_SECONDS + time.monotonic() - started
    ends = [each.configuration for each in (plan.examples[0], plan.examples[-1])]
    workers = search.placement(ends[-1].architecture).workers
    not_measured = _why_not_measured(space, plan, workers)
    speeds: dict[str, float] = {}
    training = plan.training_seconds
    if not not_measured:
        report("measuring the speed of training …")
        points: list[tuple[float, float]] = []
        for end in ends:
            speed = objectives.speed_of(end.architecture).steps_per_second
            speeds[str(end.architecture)] = speed
            points.append((_step_flops(space, end), 1.0 / speed))
        training = _training_seconds(space, search.space.budget.values, _line(*points), plan)
    at_a_time = search.concurrency or trials_here(least_placement(space), **machine)
    hours, fitting = None, None
    if training is not None:
        trials = (training + SECONDS_OF_A_TRIAL * plan.trials) / at_a_time
        hours = (start + trials + END_SECONDS) / 3600
        if search.hours is not None:
            fitting = min(plan.trials, int(plan.trials * 3600 * search.hours / trials))
    return Forecast(
        name=search.name,
        metric=search.metric.name,
        data=overview(first),
        plan=plan,
        references=references,
        steps_per_second=speeds,
        not_measured=not_measured,
        training_seconds=training,
        trials_at_a_time=at_a_time,
        hours=hours,
        trials_in_time=fitting,
    )


def _why_not_measured(space: SearchSpace, plan: Plan, workers: int) -> str:
    """Why this process does not measure how fast models train; empty where it does."""
    if plan.training_flops is None:
        return "budgets are in seconds"
    if workers > 1:
        return "several workers train a model"
    seconds = _step_flops(space, plan.examples[-1].configuration) / this_machine().flops
    if seconds > LONGEST_STEP:
        return f"a step of the largest model takes about {duration(seconds)} here, by its FLOPs"
    return ""


def _step_flops(space: SearchSpace, configuration: Configuration) -> float:
    architecture, budget = configuration.architecture, configuration.budget
    flops = space.training_flops(budget, architecture)
    return flops / space.steps(budget, architecture).total


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
