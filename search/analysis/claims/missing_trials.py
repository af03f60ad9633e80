"""The trials that the claims lack, and running them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from operator import itemgetter
from typing import Any

from search.analysis.claims.curves import thinned
from search.analysis.claims.depth_or_width import EQUAL
from search.analysis.claims.observations import refuse_unequal_models
from search.analysis.claims.undecayed import measure_undecayed
from search.execution.listener import Listener
from search.samplers.measured_costs import recorded_costs
from search.storage.optuna_space import parameters_from
from search.storage.states import OUTDATED
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.architecture import Architecture
from spaces.cost.configuration import Configuration
from spaces.cost.families import layout
from spaces.cost.units import quantity
from spaces.grid.grid import Point
from spaces.grid.search_space import COMPRESSION_FIELDS, SearchSpace

MOST_ARCHITECTURES = 16
"""A space with more is sampled: three sizes along its diagonal and one pair of equal parameters."""
MOST_BUDGETS = 4
USUAL_BITS = 4
"""Bits at which models of the shorter budgets are compressed too, to compare at equal compute."""

Indices = dict[str, int]
"""Index of the value of each dimension; 0 for those that are left out."""


@dataclass(frozen=True)
class MissingTrial:
    """A trial that the claims lack.

    Args:
        parameters: In Optuna.
        configuration: The one that they encode.
        training_flops: Of its whole training; trials of one model share them.
    """

    parameters: dict[str, Any]
    configuration: Configuration
    training_flops: int


def missing_trials(space: SearchSpace, records: Iterable[TrialRecord]) -> list[MissingTrial]:
    """Trials that the claims lack, in the order in which to run them.

    Every architecture is trained to every budget (of a large space: a few of both), evaluated once
    with a usual compression, and with each compression at its longest budget. Models come before
    further compressions of them, and budgets in ascending order, so that trials that run side by
    side train different models and later ones reuse their training. Configurations that are known
    to exceed a limit are left out, and so are those that were tried before, also without success,
    unless that is outdated.
    """
    tried = {record.configuration.hash for record in records if record.state != OUTDATED}
    additions = []
    for point in _wanted(space):
        configuration = space.configuration(point)
        if configuration.hash in tried or not space.is_feasible(configuration):
            continue
        tried.add(configuration.hash)
        flops = space.training_flops(
            configuration.budget,
            configuration.architecture,
            recovery=configuration.compression.recovery,
        )
        additions.append(MissingTrial(parameters_from(space, point), configuration, flops))
    return additions


def run_missing_trials(study: Study, url: str, listener: Listener) -> Study:
    """Run the trials that the claims lack; returns the study as it is then.

    They are enqueued in Optuna. After an interruption the rest is still there: the same command, or
    ``tlc run``, continues with them.

    Args:
        study: The study to complete.
        url: SQLAlchemy URL of the storage that it is in.
        listener: Progress is reported to it.

    Raises:
        StudyError: Another process holds the lease of the search.
        UserError: The search cannot be run.
    """
    from search.execution.run import run, search_at

    refuse_unequal_models(study)
    space = study.make_space(recorded_costs(study))
    additions = missing_trials(space, study.records())
    _report(study.search.name, additions, listener)
    if additions or study.has_enqueued:
        trials = [addition.parameters for addition in additions]
        study = run(search_at(study, url), listener, trials=trials).study
    measure_undecayed(study, listener)
    return study


def _report(name: str, additions: list[MissingTrial], listener: Listener) -> None:
    if not additions:
        listener.info(f"{name}: no trial is missing")
        return
    models = {
        (each.configuration.architecture, each.configuration.budget): each.training_flops
        for each in additions
    }
    listener.info(
        f"{name}: {len(additions)} trials are missing, of {len(models)} trained models; at most "
        f"{quantity(sum(models.values()))}FLOPs of training"
    )
    for (architecture, budget), flops in models.items():
        listener.info(f"  {architecture!s:<10} budget {budget:<10.4g} {quantity(flops)}FLOPs")


def _wanted(space: SearchSpace) -> Iterator[Point]:
    """Points that the claims need, models first; some may be infeasible or the same."""
    values = next(d.values for d in space.dimensions if d.name == "budget")
    ascending = sorted(range(len(values)), key=lambda k: values[k])
    budgets = [{"budget": k} for k in thinned(ascending, MOST_BUDGETS)]
    shapes, compressions = _shapes(space), _compressions(space)
    usual = sorted(compressions, key=lambda each: _distance(space, shapes[0] | each))
    for budget, shape in itertools.product(budgets, shapes):
        points = (_point(space, shape | budget | each) for each in usual)
        feasible = (p for p in points if space.is_feasible(space.configuration(p)))
        yield from itertools.islice(feasible, 1)
    for compression, shape in itertools.product(compressions, shapes):
        yield _point(space, shape | budgets[-1] | compression)


def _point(space: SearchSpace, indices: Indices) -> Point:
    return tuple(indices.get(d.name, 0) for d in space.dimensions)


def _distance(space: SearchSpace, indices: Indices) -> tuple[float, float]:
    """How far a compression is from the usual one: its sparsity, then its bits."""
    compression = space.configuration(_point(space, indices)).compression
    return compression.sparsity, abs(compression.quantisation.bits - USUAL_BITS)


def _shapes(space: SearchSpace) -> list[Indices]:
    """All architectures, or a few of many."""
    axes = {
        d.name: list(range(len(d.values)))
        for d in space.dimensions
        if d.name != "budget" and d.name not in COMPRESSION_FIELDS
    }
    if prod(map(len, axes.values())) <= MOST_ARCHITECTURES:
        return _products(axes)
    diagonal = [
        {name: round(at * (len(axis) - 1)) for name, axis in axes.items()} for at in (0.0, 0.5, 1.0)
    ]
    return [*diagonal, *_equal_pair(space, axes)]


def _products(axes: Mapping[str, Sequence[int]]) -> list[Indices]:
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _equal_pair(space: SearchSpace, axes: Mapping[str, Sequence[int]]) -> list[Indices]:
    """A deep and a wide architecture of as many layer parameters, as unlike as the space has."""
    # Ends and a few between of each axis: a large space has millions of pairs.
    sized = []
    for indices in _products({name: thinned(axis, 8) for name, axis in axes.items()}):
        architecture = space.configuration(_point(space, indices)).architecture
        workload = space.workload_of(architecture.checkpoint)
        size = layout(architecture.shape, workload).layer_parameters
        sized.append((size, architecture, indices))
    sized.sort(key=itemgetter(0))
    pairs = [
        (_unlikeness(one, other), [indices, others])
        for (size, one, indices), (larger, other, others) in itertools.combinations(sized, 2)
        if larger <= EQUAL * size
    ]
    return max([(1.0, []), *pairs], key=itemgetter(0))[1]


def _unlikeness(one: Architecture, other: Architecture) -> float:
    """Ratio of widths where the narrower is the deeper; 0 elsewhere."""
    narrow, wide = sorted((one, other), key=lambda each: each.width)
    return wide.width / narrow.width if narrow.depth > wide.depth else 0.0


def _compressions(space: SearchSpace) -> list[Indices]:
    """Each quantisation unpruned, and each pruning at the mildest quantisation.

    Other dimensions, such as the group size, stay at their first value.
    """
    values = {d.name: d.values for d in space.dimensions if d.name in COMPRESSION_FIELDS}
    if not values:
        return [{}]
    bits = [quantisation.bits for quantisation in values["quantisation"]]
    mildest = {
        "quantisation": bits.index(max(bits)),
        "sparsity": values["sparsity"].index(min(values["sparsity"])),
        "recovery": values["recovery"].index(min(values["recovery"])),
    }
    quantised = [{**mildest, "quantisation": k} for k in range(len(bits))]
    pruned = _products({name: range(len(values[name])) for name in ("pruning", "sparsity")})
    return [*quantised, *(mildest | each for each in pruned)]
