"""What earlier trials are worth: replays of recorded tables with and without them.

    python benchmarks/warm_start.py images --seeds 20
    python benchmarks/warm_start.py causal_lm --seeds 8 --trials 25

The earlier search is one of the smaller half of widths and budgets, by the same sampler and seed.
The search itself is over the whole table, in which its store is empty: training of the earlier
search has to be done again where its points are proposed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from search.arrays import Floats, Integers
from search.replay.replay import replay
from search.replay.row_samplers import FrontierRowSampler
from search.replay.table import Table
from search.replay.table_design import design_space_of
from search.samplers.frontier.cost_model import CostModel
from search.samplers.frontier.designer import Designer
from search.samplers.frontier.history import StageSeconds, Trial

TABLES = Path(__file__).parent / "tables"
LEVELS = (0.90, 0.95, 0.98)


class FirstRows(FrontierRowSampler):
    """The sampler, up to a number of trials."""

    def __init__(self, table: Table, seed: int, trials: int) -> None:
        super().__init__(table, seed)
        self._left = trials

    def ask(self) -> int | None:
        """A row, or None after the last trial."""
        self._left -= 1
        return super().ask() if self._left >= 0 else None


class WarmRowSampler(FrontierRowSampler):
    """The sampler after the trials of some rows."""

    def __init__(self, table: Table, seed: int, rows: Integers) -> None:
        super().__init__(table, seed)
        space = design_space_of(table)
        earlier = [_trial(table, int(row)) for row in rows]
        cost_model = CostModel(space)
        for each in earlier:
            cost_model.learn(each)
        self.designer = Designer(space, seed, cost_model=cost_model)
        self.designer.learn(earlier)


def _trial(table: Table, row: int) -> Trial:
    c, error = table.columns, float(table.error[row])
    return Trial(
        int(table.run[row]),
        int(table.compression[row]),
        float(table.accuracy[row]),
        None if np.isnan(error) else error,
        StageSeconds(
            stable=c["train_seconds_stable"][row],
            cooldown=c["train_seconds_cooldown"][row],
            evaluate=c["compress_eval_seconds"][row],
        ),
    )


def smaller_rows(table: Table) -> Integers:
    """The rows of the smaller half of widths and budgets."""
    columns = [table.columns["width"], table.columns["budget_steps"]]
    middles = [np.unique(c)[(len(np.unique(c)) - 1) // 2] for c in columns]
    return np.flatnonzero((columns[0] <= middles[0]) & (columns[1] <= middles[1]))


def reached(table: Table, sampler: FrontierRowSampler) -> Floats:
    """Seconds, and then trials, until each level, ``(2, levels)``."""
    made = replay(table, sampler, workers=1, sharing=True, until=LEVELS[-1])
    trials = [np.flatnonzero(made.hypervolume >= level)[0] for level in LEVELS]
    return np.array([list(map(made.seconds_to, LEVELS)), trials], dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", help="its name in benchmarks/tables")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=20, help="of the earlier search")
    options = parser.parse_args()
    table = Table.read(TABLES / f"{options.table}.csv.gz")
    rows = smaller_rows(table)
    part = Table.of("part", {name: values[rows] for name, values in table.columns.items()})
    cold, warm = [], []
    for seed in range(options.seeds):
        first = FirstRows(part, seed, options.trials)
        tried = rows[replay(part, first, workers=1, sharing=True).rows]
        cold.append(reached(table, FrontierRowSampler(table, seed)))
        warm.append(reached(table, WarmRowSampler(table, seed, tried)))
    print(f"{options.table}: {len(rows)} of {len(table)} rows, {options.trials} earlier trials")
    for name, values in (("cold", cold), ("warm", warm)):
        seconds, trials = np.median(values, axis=0)
        print(f"{name}: seconds to {LEVELS}: {seconds.round(1)}, trials: {trials}")
    ratios = np.log(np.array(warm)[:, 0] / np.array(cold)[:, 0])
    half = student.ppf(0.975, len(ratios) - 1) * ratios.std(0, ddof=1) / np.sqrt(len(ratios))
    for level, mean, width in zip(LEVELS, ratios.mean(0), half, strict=True):
        low, middle, high = np.exp([mean - width, mean, mean + width])
        print(f"{level:.0%}: {middle:.2f} of the seconds (95 %: {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
