"""Speeds of training of a whole space, measured on untrained models before the search."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from search.samplers.estimates import evenly_spread, log_linear
from search.storage.budget_facts import RecordedSpeed
from spaces.cost.architecture import Architecture
from spaces.cost.flops import pretraining_workload, training_step_flops
from spaces.cost.units import MIN_STEPS
from spaces.errors import UserError
from spaces.grid.search_space import SearchSpace

MOST_MEASURED = 100
"""Architectures that are measured at most, evenly spread; the speeds of others are estimated."""

Measure = Callable[[Architecture], dict[str, Any]]
"""A ``TrainingSpeed`` as plain values, or a ``failure`` where a model cannot be trained here."""


def known_speeds(
    space: SearchSpace,
    measure: Measure,
    warn: Callable[[str], None],
    recorded: Iterable[RecordedSpeed] = (),
) -> list[RecordedSpeed]:
    """The speed of every architecture of a space whose speed is not recorded.

    Args:
        measure: Measures one of them.
        warn: Called with a line where one could not be trained, or was disturbed.
        recorded: Those that are known.

    Raises:
        UserError: None of them can be trained.
    """
    known = {each.architecture: each for each in recorded}
    architectures = [a for a in space.architectures() if a not in known]
    found = {a: _recorded(a, measure(a)) for a in evenly_spread(architectures, MOST_MEASURED)}
    failures = [each for each in found.values() if each.steps_per_second == 0.0]
    if len(failures) == len(found) and not any(e.steps_per_second for e in known.values()):
        raise UserError(f"no architecture can be trained here: {failures[0].measured['failure']}")
    for each in failures:
        warn(f"{each.architecture} cannot be trained here: {each.measured['failure']}")
    for architecture in _noisy(found):
        # Later it may be quiet, and other programs only slow training down.
        again = _recorded(architecture, measure(architecture))
        found[architecture] = max(found[architecture], again, key=lambda e: e.steps_per_second)
    if noisy := _noisy(found):
        names = ", ".join(map(str, noisy))
        warn(f"other programs disturbed the measurement of {names}")
    if len(found) < len(architectures):

        def features(architecture: Architecture) -> list[float]:
            workload = pretraining_workload(space.workload_of(architecture.checkpoint))
            flops = training_step_flops(
                architecture, workload, batch_size=space.schedule.batch_size
            )
            depth = architecture.depth + architecture.decoder_depth
            return [1.0, math.log(flops), math.log(depth)]

        measured = {a: e for a, e in (known | found).items() if e.measured}
        rates = {a: e.steps_per_second for a, e in measured.items() if e.steps_per_second > 0.0}
        estimate = log_linear(rates, features)
        others = (a for a in architectures if a not in found)
        found |= {a: RecordedSpeed(a, estimate(a), {}) for a in others}
    return list(found.values())


def check_budgets(space: SearchSpace, inform: Callable[[str], None]) -> None:
    """Tell how many budgets buy too few steps, which are not tried.

    Raises:
        UserError: All of them.
    """
    budgets = space.definition.budget.values
    every = [space.steps(b, a) for a in space.architectures() for b in budgets]
    few = [steps for steps in every if not steps.is_enough]
    if len(few) == len(every):
        raise UserError(
            f"space.budget: {max(budgets):g} seconds buy at most "
            f"{max(steps.pretraining for steps in few)} steps in this space on this machine; the "
            f"minimum is {MIN_STEPS}, of which 1 of decay"
        )
    if few:
        inform(
            f"{len(few)} of {len(every)} pairs of an architecture and a budget are fewer than "
            f"{MIN_STEPS} steps, and are not tried"
        )


def _noisy(speeds: Mapping[Architecture, RecordedSpeed]) -> list[Architecture]:
    return [architecture for architecture, e in speeds.items() if e.measured.get("is_noisy")]


def _recorded(architecture: Architecture, measured: dict[str, Any]) -> RecordedSpeed:
    return RecordedSpeed(architecture, measured.pop("steps_per_second", 0.0), measured)
