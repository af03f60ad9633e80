"""Measurements as arrays over seeds: those that replicate each other, and all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from search.analysis.claims.inference import LEAST_SEEDS
from search.analysis.claims.observations import Compressed, Observations, Run
from search.arrays import Floats, Integers
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression

Cell = tuple[Architecture, float]
Level = tuple[Cell, Compression]


@dataclass(frozen=True)
class Measurements:
    """Measurements of each model and budget, each with the same seeds.

    Args:
        observations: Where they are from.
        seeds: Seeds of the rows; empty where each model's seeds are averaged into a single row.
        cells: One run for each architecture and budget; its loss and quality are not used.
        losses: Validation loss before compression, ``(seeds, cells)``.
        qualities: Quality before compression, ``(seeds, cells)``.
        training_flops: FLOPs of the whole training, mean over seeds, ``(cells,)``.
        seconds: Seconds of the whole training, mean over seeds, ``(cells,)``.
        compressed: One for each cell and compression, with its mean training over seeds; its
            quality is not used.
        parents: Cell of each compressed model, ``(compressed,)``.
        compressed_qualities: Quality after compression, ``(seeds, compressed)``.
        costs: Loss that compression adds, in nats, ``(seeds, compressed)``.
        undecayed_costs: The same before the decay of the learning rate; NaN where it was not
            measured, ``(seeds, compressed)``.
    """

    observations: Observations
    seeds: tuple[int, ...]
    cells: tuple[Run, ...]
    losses: Floats
    qualities: Floats
    training_flops: Floats
    seconds: Floats
    compressed: tuple[Compressed, ...]
    parents: Integers
    compressed_qualities: Floats
    costs: Floats
    undecayed_costs: Floats

    @cached_property
    def architectures(self) -> tuple[Architecture, ...]:
        """The architectures, by size."""
        sizes = {run.architecture: run.parameters for run in self.cells}
        return tuple(sorted(sizes, key=lambda each: (sizes[each], each)))

    @cached_property
    def architecture_of(self) -> Integers:
        """Index of the architecture of each cell, ``(cells,)``."""
        found = [self.architectures.index(run.architecture) for run in self.cells]
        return np.array(found, dtype=np.int64)


def everything(observations: Observations) -> Measurements:
    """All measurements, those of each model averaged over the seeds that it has."""
    cells = _cells(observations)
    compressed = _compressed(observations)
    order = {cell: k for k, cell in enumerate(cells)}
    return _measurements(
        observations,
        (),
        [list(by_seed.values()) for by_seed in cells.values()],
        [list(by_seed.values()) for by_seed in compressed.values()],
        [order[cell] for cell, _ in compressed],
    )


def replicated(observations: Observations) -> Measurements | None:
    """What was measured with the same three seeds or more; None without such seeds.

    Of the seeds, those are taken that give the most measured paths in common.
    """
    cells = _cells(observations)
    seeds = sorted(
        observations.seeds, key=lambda seed: (-sum(seed in each for each in cells.values()), seed)
    )
    most, kept = 0, frozenset[int]()
    for count in range(LEAST_SEEDS, len(seeds) + 1):
        first = frozenset(seeds[:count])
        paths = count * sum(first <= each.keys() for each in cells.values())
        if paths > most:
            most, kept = paths, first
    if not kept:
        return None
    order = sorted(kept)
    complete = {cell: each for cell, each in cells.items() if kept <= each.keys()}
    indices = {cell: k for k, cell in enumerate(complete)}
    compressed = {
        key: each
        for key, each in _compressed(observations).items()
        if key[0] in indices and kept <= each.keys()
    }
    return _measurements(
        observations,
        tuple(order),
        [[by_seed[seed] for seed in order] for by_seed in complete.values()],
        [[by_seed[seed] for seed in order] for by_seed in compressed.values()],
        [indices[cell] for cell, _ in compressed],
    )


def _cells(observations: Observations) -> dict[Cell, dict[int, Run]]:
    """Runs of each architecture and budget by seed."""
    found: dict[Cell, dict[int, Run]] = defaultdict(dict)
    for run in observations.runs:
        found[run.cell].setdefault(run.seed, run)
    return found


def _compressed(observations: Observations) -> dict[Level, dict[int, Compressed]]:
    """Compressed models of each cell and compression by seed."""
    found: dict[Level, dict[int, Compressed]] = defaultdict(dict)
    for each in observations.compressed:
        found[each.run.cell, each.compression].setdefault(each.run.seed, each)
    return found


def _measurements(
    observations: Observations,
    seeds: tuple[int, ...],
    runs: list[list[Run]],
    compressed: list[list[Compressed]],
    parents: list[int],
) -> Measurements:
    """Arrays of some cells: a row for each seed, or one row of means without seeds."""
    return Measurements(
        observations=observations,
        seeds=seeds,
        cells=tuple(group[0] for group in runs),
        losses=_rows([[run.loss for run in group] for group in runs], seeds),
        qualities=_rows([[run.quality for run in group] for group in runs], seeds),
        training_flops=np.array([_mean(group, "training_flops") for group in runs]),
        seconds=np.array([_mean(group, "seconds") for group in runs]),
        compressed=tuple(
            replace(
                group[0],
                training_flops=_mean(group, "training_flops"),
                seconds=_mean(group, "seconds"),
            )
            for group in compressed
        ),
        parents=np.array(parents, dtype=np.int64),
        compressed_qualities=_rows(
            [[each.quality for each in group] for group in compressed], seeds
        ),
        costs=_rows([[each.cost for each in group] for group in compressed], seeds),
        undecayed_costs=_rows(
            [[each.undecayed_cost for each in group] for group in compressed], seeds
        ),
    )


def _mean(group: Sequence[Run] | Sequence[Compressed], name: str) -> float:
    return float(np.mean([getattr(each, name) for each in group]))


def _rows(columns: list[list[float]], seeds: tuple[int, ...]) -> Floats:
    if not columns:
        return np.empty((max(len(seeds), 1), 0))
    if seeds:
        return np.array(columns, dtype=np.float64).T
    return np.array([[float(np.mean(column)) for column in columns]])
