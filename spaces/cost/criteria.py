"""The objectives of a search, and the criteria by which its trials are compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Annotated, Any

from pydantic import Field

from spaces.cost.inference_cost import ALWAYS, COSTS, Cost
from spaces.cost.metric import Metric

# pydantic's strict mode accepts no list for a tuple.
Objectives = Annotated[tuple[str, ...], Field(strict=False, min_length=1, max_length=8)]
"""Of a search file: scores of the task, then inference costs."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """The scores, the inference costs that they are weighed against, and the limits of all costs.

    Args:
        metric: The first score, by which the best model is chosen.
        cost: The first cost axis of the frontier; at a fixed cost, the first cost that is limited.
        limits: Highest allowed value of each limited cost, by its name.
        is_at_fixed_cost: Whether no cost is an objective: the search is for the best score within
            the limits.
        costs: Names of all costs that a result has: the usual ones, and what the search names.
        further_costs: Further cost axes of the frontier.
        further_metrics: Further scores; a result has them by their names.
    """

    metric: Metric
    cost: Cost
    limits: Mapping[str, float]
    is_at_fixed_cost: bool = False
    costs: tuple[str, ...] = ALWAYS
    further_costs: tuple[Cost, ...] = ()
    further_metrics: tuple[Metric, ...] = ()

    @property
    def limit(self) -> float | None:
        """Limit of the first cost axis, where there is one."""
        return self.limits.get(self.cost.name)

    @property
    def axes(self) -> tuple[Cost, ...]:
        """The cost axes of the frontier."""
        return self.cost, *self.further_costs

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The scores."""
        return self.metric, *self.further_metrics

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of all objectives, the scores first."""
        costs = () if self.is_at_fixed_cost else self.axes
        return *(each.name for each in self.metrics), *(each.name for each in costs)

    @property
    def has_one_objective(self) -> bool:
        """Whether there is one best model, and no frontier."""
        return len(self.objectives) == 1

    def scores(self, result: Mapping[str, Any]) -> tuple[float, ...]:
        """The scores of a complete trial, in the order of ``metrics``."""
        return result["score"], *(result[each.name] for each in self.further_metrics)

    def qualities(self, result: Mapping[str, Any]) -> tuple[float, ...]:
        """Quality of each score of a complete trial: more is better for every metric."""
        pairs = zip(self.metrics, self.scores(result), strict=True)
        return tuple(metric.quality(score) for metric, score in pairs)

    def costs_of(self, result: Mapping[str, Any]) -> tuple[float, ...]:
        """Value of a complete trial on each cost axis."""
        return tuple(float(result[cost.name]) for cost in self.axes)

    def against(self, cost: Cost) -> Criteria:
        """The same with another of its cost axes first."""
        others = tuple(each for each in self.axes if each != cost)
        return replace(self, cost=cost, further_costs=others)

    @property
    def first_pair(self) -> Criteria:
        """The first score and the first cost alone."""
        return replace(self, further_costs=(), further_metrics=())

    def violations(self, result: Mapping[str, Any]) -> dict[str, float]:
        """By what fraction a result exceeds each limit; at most 0 where it meets the limit."""
        return {name: result[name] / limit - 1.0 for name, limit in self.limits.items()}


def criteria_of(
    objectives: Objectives, metric: Metric, known: Sequence[Metric], limits: Mapping[str, float]
) -> Criteria:
    """The criteria of some objectives.

    Args:
        metric: The first score.
        known: The scores of the task.
        limits: Highest allowed value of each limited cost.
    """
    weighed = costs_among(objectives)
    named = {each.name: each for each in known}
    return Criteria(
        metric,
        first_cost(objectives, limits),
        limits,
        not weighed,
        costs=(
            *ALWAYS,
            *(cost.name for cost in named_costs(objectives, limits) if cost.is_optional),
        ),
        further_costs=weighed[1:],
        further_metrics=tuple(named[name] for name in score_names(objectives)[1:]),
    )


def first_cost(objectives: Objectives, limits: Mapping[str, float]) -> Cost:
    """The first inference cost that the score is weighed against, or that is limited."""
    return next(chain(costs_among(objectives), (COSTS[name] for name in limits)))


def score_names(objectives: Objectives) -> tuple[str, ...]:
    """Names of the scores among objectives."""
    return tuple(name for name in objectives if name not in COSTS)


def costs_among(objectives: Objectives) -> tuple[Cost, ...]:
    """The inference costs among objectives."""
    return tuple(COSTS[name] for name in objectives if name in COSTS)


def named_costs(objectives: Objectives, limits: Collection[str]) -> tuple[Cost, ...]:
    """The inference costs among objectives or limited costs, each once."""
    return tuple(cost for name, cost in COSTS.items() if name in objectives or name in limits)


def objective_faults(
    objectives: Objectives, limits: Collection[str], *, task: str, known: Sequence[Metric]
) -> Iterator[str]:
    """What is wrong with the objectives of a search.

    Args:
        limits: Names of the costs that are limited.
        task: Name of the task.
        known: Its metrics; empty while they are not known.
    """
    scores, costs = score_names(objectives), costs_among(objectives)
    names = [each.name for each in known]
    allowed = f"allowed: scores of the task, and then costs ({', '.join(COSTS)})"
    if objectives != (*scores, *(cost.name for cost in costs)) or not scores:
        yield f"objectives: the scores come first, and one at least; {allowed}"
    for name in dict.fromkeys(objectives):
        if objectives.count(name) > 1:
            yield f"objectives: {name} is there twice; {allowed}"
    unknown = [name for name in dict.fromkeys(scores) if names and name not in names]
    for name in unknown:
        yield (
            f"objectives: task {task} is scored by {_either(names)}, not {name}; costs are "
            f"{', '.join(COSTS)}"
        )
    if not costs and not limits and not unknown:
        yield (
            f"objectives: {' and '.join(dict.fromkeys(scores))} without a cost needs a constraint, "
            "such as constraints.max_size_mb; or add size_mb, latency_ms or flops to the objectives"
        )
    for cost in costs:
        if cost.is_measured and cost.name not in limits:
            yield (
                f"objectives: {cost.name} needs constraints.{cost.constraint}, "
                "which is the reference point of the hypervolume"
            )


def _either(names: Sequence[str]) -> str:
    """Names as people list what is allowed: ``a, b or c``."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
