"""Resuming a search with a wider space: its trials stay, as points of the new space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from optuna.distributions import distribution_to_json

from search.storage.base_study import BaseStudy, C
from search.storage.errors import BusyStudy
from search.storage.lease_holder import refuse_if_held_elsewhere
from search.storage.optuna_space import (
    distributions,
    parameters_from,
    point_from,
    restored_in,
    without_repeats,
)
from search.storage.transactions.parameters import Parameter, ParameterChange
from spaces.grid.grid import Grid, Point
from spaces.grid.widening import Tried, changed_names, widening_text

WIDENED = "tlc:widened"
MEASURED = "tlc:measured_costs"
"""Measured costs of a space by name, in the order of its models: another space has others."""


@dataclass(frozen=True)
class Widening:
    """A change of the space of a search.

    Args:
        text: The dimensions that changed, such as ``width 64, 128 -> 64, 128, 256``.
        trials: How many trials there were.
    """

    text: str
    trials: int


def widen(
    study: BaseStudy[C],
    before: Grid,
    after: Grid,
    point_of: Callable[[C], Point | None],
    *,
    replaced: tuple[str, Any, Any],
) -> None:
    """Make a wider space that of a study; in one transaction with what defines the search.

    Args:
        before: The space so far, each of whose values the other has.
        point_of: The point of the wider space at which the configuration of a trial is.
        replaced: The attribute that defines the search, with its value so far and the new one.

    Raises:
        BusyStudy: The search is running elsewhere, or was changed just now.
    """
    refuse_if_held_elsewhere(study)
    records, repeats = study.records_and_repeats()
    every = [*records, *repeats]
    gone, added = changed_names(before, after)
    old, new = distributions(before), distributions(after)
    dimensions = {d.name: d for d in before.dimensions}
    parameters = {
        d.name: Parameter(distribution_to_json(new[d.name]), restored_in(dimensions[d.name], d))
        for d in after.dimensions
        if d.name not in added and old[d.name] != new[d.name]
    }
    if added:
        points = {record.number: point_of(record.configuration) for record in every}
        values = {n: parameters_from(after, point) for n, point in points.items() if point}
        for name in added:
            stored = {n: new[name].to_internal_repr(each[name]) for n, each in values.items()}
            parameters[name] = Parameter(distribution_to_json(new[name]), added=stored)
    known = study.attributes.get(WIDENED, [])
    text = widening_text(before, after)
    said = [asdict(Widening(text, len(every)))] if text else []
    attributes = {WIDENED: [*known, *said] or None, MEASURED: None}
    if not study.change_parameters(ParameterChange(replaced, attributes, parameters, gone)):
        raise BusyStudy(f"search {study.name!r} was changed by another process just now; try again")


def widenings(attributes: Mapping[str, Any]) -> list[Widening]:
    """How the space of a search was made wider, from its study's attributes."""
    return [Widening(**values) for values in attributes.get(WIDENED, ())]


def unused_widenings(study: BaseStudy[Any]) -> list[str]:
    """The texts of those after which no trial was started."""
    records, repeats = study.records_and_repeats()
    count = len(records) + len(repeats)
    return [each.text for each in widenings(study.attributes) if each.trials == count]


def tried(study: BaseStudy[Any], space: Grid) -> Tried:
    """How many trials of a study have a value of a dimension of its space."""
    values = {d.name: d.values for d in space.dimensions}

    @cache
    def counts() -> Counter[tuple[str, int]]:
        found: Counter[tuple[str, int]] = Counter()
        for trial in without_repeats(study.optuna.get_trials(deepcopy=False)):
            if trial.params.keys() >= values.keys():
                found.update(zip(values, point_from(space, trial.params), strict=True))
        return found

    return lambda name, value: counts()[name, values[name].index(value)]
