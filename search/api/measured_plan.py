"""Costs that only a measurement knows, measured here for a plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from objectives.completion import completed
from objectives.measurement.slowdown import MeasuredTimes, corrected, with_faster
from search.samplers.measured_costs import costs_to_measure, known_cost, shapes_of
from search.samplers.predicted_costs import PredictionError
from spaces.cost.inference_cost import Cost
from spaces.errors import UserError
from spaces.file.storage import Locations
from spaces.grid.search_space import SearchSpace
from spaces.loading import Overrides, SearchLike, read_search

if TYPE_CHECKING:
    from objectives.several_checkpoints import Objectives
    from spaces.cost.configuration import Configuration


@dataclass(frozen=True)
class MeasuredRange:
    """A measured cost over a space.

    Args:
        least: The lowest of all shapes, measured or predicted; ``greatest`` likewise.
        shapes: What it depends on: so many models of the space differ in it.
        measured: Shapes that were measured; the others are predicted.
        within: Shapes that meet the limit; all without one.
        error: Of the predictions; None where every shape was measured.
    """

    cost: Cost
    least: float
    greatest: float
    shapes: int
    measured: int
    within: int
    error: PredictionError | None

    def __str__(self) -> str:
        text = f"{self.cost.noun}: {self.cost.text(self.least)} to {self.cost.text(self.greatest)}"
        if self.within < self.shapes:
            text += f", {self.within:,} of {self.shapes:,} shapes within the limit"
        if self.error is None:
            return f"{text}; {self.shapes} shapes measured"
        return f"{text}; {self.measured} measured, others predicted with an error of {self.error}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write."""
        return {**asdict(self), "cost": self.cost.name}


def measured_plan(given: SearchLike, overrides: Overrides = ()) -> list[MeasuredRange]:
    """Measure untrained models of a search on this machine, as its run would before it trains.

    What is measured stays in the store, where the run finds it.

    Raises:
        UserError: The search names no cost that is measured, nothing meets a limit, or the search
            file, its checkpoints or its data cannot be read.
    """
    search = read_search(given, overrides)
    search, _ = completed(search, Locations.of(search.storage).data)
    space = SearchSpace(search)
    costs = costs_to_measure(space)
    if not costs:
        raise UserError(
            "--measure: objectives and constraints name no cost that is measured, such as "
            "latency_ms or max_latency_ms"
        )
    from objectives.several_checkpoints import Objectives

    objectives = Objectives(search)
    return [_measured_range(space, cost, objectives) for cost in costs]


def _measured_range(space: SearchSpace, cost: Cost, objectives: Objectives) -> MeasuredRange:
    def measure(configurations: list[Configuration]) -> list[float]:
        measured = [objectives.untrained_cost(cost.name, each) for each in configurations]
        best = with_faster({}, (each for each in measured if isinstance(each, MeasuredTimes)))
        return [corrected(each, best) for each in measured]

    known, shapes = known_cost(space, cost, measure), shapes_of(space, cost)
    values = sorted(map(known, shapes.values()))
    limit = space.criteria.limits.get(cost.name, values[-1])
    return MeasuredRange(
        cost=cost,
        least=values[0],
        greatest=values[-1],
        shapes=len(shapes),
        measured=known.measured,
        within=sum(value <= limit for value in values),
        error=known.error if known.measured < len(shapes) else None,
    )
