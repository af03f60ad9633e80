"""What three objectives are worth: recorded tables with latency as a third one, replayed.

    python benchmarks/several_objectives.py images causal_lm --seeds 10

The hypervolume is that of accuracy, log10 of bytes and log10 of latency. ``three`` weighs all of
them, ``two`` is the same sampler without latency, and TPE, NSGA-II and random search share training
too. Ratios are geometric means over seeds of the seconds to a level, in units of those of
``three``, with the 95 % interval of a t distribution.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import moocore
import numpy as np
from scipy.stats import t as student

from search.arrays import Floats, Integers
from search.replay.replay import RowSampler, replay
from search.replay.row_samplers import FrontierRowSampler, OptunaRowSampler, RandomRowSampler
from search.replay.table import Table
from search.replay.table_design import design_space_of
from search.samplers.frontier.designer import Designer

TABLES = Path(__file__).parent / "tables"
LEVELS = (0.90, 0.95)


class ThreeObjectives(Table):
    """A table whose hypervolume has latency as a third axis."""

    @cached_property
    def log_latency(self) -> Floats:
        """log10 of the milliseconds of each row."""
        return np.log10(self.columns["latency_ms"])

    def hypervolume(self, rows: Integers) -> float:
        """Volume that rows dominate; the reference point is the worst of each column."""
        if len(rows) == 0:
            return 0.0
        points = np.stack([-self.accuracy, self.log_size, self.log_latency], 1)
        return float(moocore.hypervolume(points[rows], ref=points.max(0)))


class ThreeRowSampler(FrontierRowSampler):
    """The ``frontier`` sampler, which knows sizes and latencies beforehand."""

    def __init__(self, table: ThreeObjectives, seed: int) -> None:
        super().__init__(table, seed)
        space = design_space_of(table)
        shape = len(space.runs), len(space.compressions), 1
        costs = np.full(shape, np.nan)
        costs[table.run, table.compression, 0] = table.log_latency
        limits = (float(table.log_latency.min()), float(table.log_latency.max()))
        space = replace(space, further_costs=lambda runs: costs[runs], further_limits=(limits,))
        self.designer = Designer(space, seed)


class ThreeOptunaSampler(OptunaRowSampler):
    """An Optuna sampler with three objectives."""

    OBJECTIVES = 3

    def _costs(self, row: int) -> list[float]:
        assert isinstance(self._table, ThreeObjectives)
        return [*super()._costs(row), float(self._table.log_latency[row])]


SAMPLERS: dict[str, Callable[[ThreeObjectives, int], RowSampler]] = {
    "three": ThreeRowSampler,
    "two": FrontierRowSampler,
    "tpe": lambda table, seed: ThreeOptunaSampler(table, seed, sampler="tpe"),
    "nsgaii": lambda table, seed: ThreeOptunaSampler(table, seed, sampler="nsgaii"),
    "random": RandomRowSampler,
}


def seconds_to_levels(table: ThreeObjectives, sampler: RowSampler) -> list[float]:
    """Seconds with one worker until each level."""
    made = replay(table, sampler, workers=1, sharing=True, until=LEVELS[-1])
    return list(map(made.seconds_to, LEVELS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", help="names in benchmarks/tables")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", action="append", choices=list(SAMPLERS))
    options = parser.parse_args()
    for name in options.tables:
        table = ThreeObjectives.read(TABLES / f"{name}.csv.gz")
        assert isinstance(table, ThreeObjectives)
        print(f"{name}: median seconds to {LEVELS}, ratio to those of three (95 %)")
        base = None
        for sampler in options.only or SAMPLERS:
            made = SAMPLERS[sampler]
            runs = np.array(
                [seconds_to_levels(table, made(table, seed)) for seed in range(options.seeds)]
            )
            base = runs if base is None else base
            logs = np.log(runs / base)
            half = student.ppf(0.975, len(runs) - 1) * logs.std(0, ddof=1) / np.sqrt(len(runs))
            ends = np.exp(np.stack([logs.mean(0), logs.mean(0) - half, logs.mean(0) + half]))
            ratios = [f"{m:.2f} ({a:.2f} to {b:.2f})" for m, a, b in ends.T]
            seconds = np.median(runs, axis=0).round(0)
            print(f"  {sampler}: {seconds}, {', '.join(ratios)}", flush=True)


if __name__ == "__main__":
    main()
