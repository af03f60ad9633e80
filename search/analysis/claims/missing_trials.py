"""Which trials the claims lack, and running them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import optuna
from optuna.trial import TrialState

from search.analysis.claims.curves import thinned
from search.analysis.claims.depth_or_width import EQUAL
from search.execution.listener import Listener
from search.samplers.known_latencies import recorded_latencies
from search.storage.lease_holder import local_lease
from search.storage.optuna_space import parameters_from
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.architecture import Architecture
from spaces.cost.configuration import Configuration
from spaces.cost.families import layout
from spaces.cost.units import quantity
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations, home
from spaces.grid.grid import Point
from spaces.grid.search_space import COMPRESSION_FIELDS, SearchSpace

MOST_ARCHITECTURES = 16
"""A space with more is sampled: three sizes along its diagonal and one pair of equal parameters."""
MOST_BUDGETS = 4
USUAL_BITS = 4
"""Bits at which models of the shorter budgets are compressed too, to compare at equal compute."""


@dataclass(frozen=True)
class MissingTrial:
    """A trial that the claims lack.

    Args:
        parameters: Its parameters in Optuna.
        configuration: What they mean.
        training_flops: FLOPs of its whole training; trials of one model share them.
    """

    parameters: dict[str, Any]
    configuration: Configuration
    training_flops: int


def missing_trials(space: SearchSpace, records: Iterable[TrialRecord]) -> list[MissingTrial]:
    """Trials that the claims lack, in the order in which to run them.

    Every architecture is trained to every budget (of a large space: a few of both), evaluated once
    with a usual compression, and with each compression at its longest budget. Models come before
    further compressions of them, and budgets in ascending order, so that trials that run side by
    side train different models and later ones find their training done. What is known to break a
    constraint is left out, and so is what was tried before, with success or without.
    """
    tried = {record.configuration.hash for record in records}
    additions = []
    for point in _wanted(space):
        configuration = space.configuration(point)
        if configuration.hash in tried or not space.is_feasible(configuration):
            continue
        tried.add(configuration.hash)
        flops = space.schedule.training_flops(
            configuration.budget,
            configuration.architecture,
            space.workload,
            recovery=configuration.compression.recovery,
        )
        additions.append(MissingTrial(parameters_from(space, point), configuration, flops))
    return additions


def run_missing_trials(study: Study, url: str, listener: Listener) -> Study:
    """Run the trials that the claims lack; returns the study as it is then.

    They are enqueued in Optuna, and a stop leaves the rest there: the same command, or ``tlc run``,
    goes on with them.

    Args:
        study: The record.
        url: SQLAlchemy URL of the storage that it is in.
        listener: What progress is reported to.

    Raises:
        StudyError: Another process drives the search.
        UserError: The search cannot be run.
    """
    from search.execution.run import run

    space = SearchSpace(study.search, recorded_latencies(study))
    additions = missing_trials(space, study.records())
    _report(study, additions, listener)
    with local_lease(study.search.name, home() / "leases"):
        for addition in additions:
            study.optuna.enqueue_trial(addition.parameters, skip_if_exists=True)
    waiting = len(_waiting(study.optuna))
    if waiting == 0:
        return study
    trials = len(study.records()) + waiting
    return run(_kept_at(url, study.search), listener, trials=trials).study


def _kept_at(url: str, search: SearchFile) -> SearchFile:
    """A search file that leads to the study that has the enqueued trials."""
    if Locations.of(search.storage).study_url == url:
        return search
    storage = search.storage.model_copy(update={"study": url})
    return search.model_copy(update={"storage": storage})


def _waiting(study: optuna.Study) -> list[Any]:
    return study.get_trials(deepcopy=False, states=(TrialState.WAITING,))


def _report(study: Study, additions: list[MissingTrial], listener: Listener) -> None:
    if not additions:
        listener.info(f"{study.search.name}: no trial is missing")
        return
    models = {
        (each.configuration.architecture, each.configuration.budget): each.training_flops
        for each in additions
    }
    listener.info(
        f"{study.search.name}: {len(additions)} trials are missing, of {len(models)} trained "
        f"models; at most {quantity(sum(models.values()))}FLOPs of training"
    )
    for (architecture, budget), flops in models.items():
        listener.info(f"  {architecture!s:<10} budget {budget:<10.4g} {quantity(flops)}FLOPs")


def _wanted(space: SearchSpace) -> Iterator[Point]:
    """Points that the claims rest on, models first; some may be infeasible or the same."""
    budgets = _indices(space, "budget", MOST_BUDGETS)
    shapes = _shapes(space)
    ladder = _ladder(space)
    usual = sorted(ladder, key=lambda each: _distance(space, shapes[0], each))
    for budget, shape in itertools.product(budgets, shapes):
        feasible = (each for each in usual if _is_feasible(space, (*shape, budget), each))
        first = next(feasible, None)
        if first is not None:
            yield _point(space, (*shape, budget), first)
    for compression, shape in itertools.product(ladder, shapes):
        yield _point(space, (*shape, budgets[-1]), compression)


def _distance(space: SearchSpace, shape: Point, compression: Point) -> tuple[float, float]:
    configuration = space.configuration(_point(space, (*shape, 0), compression))
    bits = configuration.compression.quantisation.bits
    return configuration.compression.sparsity, abs(bits - USUAL_BITS)


def _is_feasible(space: SearchSpace, training: Point, compression: Point) -> bool:
    return space.is_feasible(space.configuration(_point(space, training, compression)))


def _shapes(space: SearchSpace) -> list[Point]:
    """Indices of each architecture's dimensions, of all or of a few."""
    axes = [range(len(d.values)) for d in space.dimensions if _is_shape(d.name)]
    if prod(map(len, axes)) <= MOST_ARCHITECTURES:
        return list(itertools.product(*axes))
    diagonal = [tuple(round(share * (len(axis) - 1)) for axis in axes) for share in (0.0, 0.5, 1.0)]
    return list(dict.fromkeys([*diagonal, *_equal_pair(space, axes)]))


def _equal_pair(space: SearchSpace, axes: list[range]) -> list[Point]:
    """A deep and a wide architecture of as many layer parameters, as unlike as the space has."""
    # Ends and a few between of each axis: a large space has millions of pairs.
    coarse = [thinned(axis, 8) for axis in axes]
    shapes = {shape: _architecture(space, shape) for shape in itertools.product(*coarse)}
    sizes = {k: layout(a.shape, space.workload).layer_parameters for k, a in shapes.items()}
    ordered = sorted(sizes, key=lambda shape: sizes[shape])
    best: tuple[float, list[Point]] = (1.0, [])
    for k, one in enumerate(ordered):
        for other in ordered[k + 1 :]:
            if sizes[other] > EQUAL * sizes[one]:
                break
            unlike = _unlikeness(shapes[one], shapes[other])
            best = max(best, (unlike, [one, other]), key=lambda pair: pair[0])
    return best[1]


def _unlikeness(one: Architecture, other: Architecture) -> float:
    """Ratio of widths where the narrower is the deeper; 0 elsewhere."""
    narrow, wide = sorted((one, other), key=lambda each: each.width)
    return wide.width / narrow.width if narrow.depth > wide.depth else 0.0


def _architecture(space: SearchSpace, shape: Point) -> Architecture:
    compression = next(iter(_ladder(space)))
    return space.configuration(_point(space, (*shape, 0), compression)).architecture


def _ladder(space: SearchSpace) -> list[Point]:
    """Indices of compression: each quantisation unpruned, and each pruning at the mildest of them.

    Other dimensions, such as the group size, stay at their first value.
    """
    names = [d.name for d in space.dimensions if d.name in COMPRESSION_FIELDS]
    if not names:
        return [()]
    values = {d.name: d.values for d in space.dimensions}
    mildest = {
        "quantisation": max(
            range(len(values["quantisation"])), key=lambda k: values["quantisation"][k].bits
        ),
        "sparsity": values["sparsity"].index(min(values["sparsity"])),
        "recovery": values["recovery"].index(min(values["recovery"])),
    }
    quantised = [{**mildest, "quantisation": k} for k in range(len(values["quantisation"]))]
    pruned = [
        {**mildest, "pruning": kind, "sparsity": k}
        for kind, k in itertools.product(
            range(len(values["pruning"])), range(len(values["sparsity"]))
        )
    ]
    steps = [tuple(step.get(name, 0) for name in names) for step in [*quantised, *pruned]]
    return list(dict.fromkeys(steps))


def _point(space: SearchSpace, training: Point, compression: Point) -> Point:
    """A point from the indices of the shape, the budget, and the compression."""
    *shape, budget = training
    shapes, compressions = iter(shape), iter(compression)
    return tuple(
        budget
        if d.name == "budget"
        else next(compressions if d.name in COMPRESSION_FIELDS else shapes)
        for d in space.dimensions
    )


def _is_shape(name: str) -> bool:
    return name != "budget" and name not in COMPRESSION_FIELDS


def _indices(space: SearchSpace, name: str, most: int) -> list[int]:
    """Indices of a dimension's values, in ascending order of the values."""
    values = next(d.values for d in space.dimensions if d.name == name)
    ascending = sorted(range(len(values)), key=lambda k: values[k])
    return thinned(ascending, most)
