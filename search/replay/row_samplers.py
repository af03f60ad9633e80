"""The samplers as a replay runs them: each chooses rows of a recorded table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import TrialState

from search.arrays import Floats, Integers
from search.replay.replay import FixedOrder, RowSampler, replay
from search.replay.report import Summary
from search.replay.table import Table
from search.replay.table_design import design_space_of
from search.samplers.frontier.designer import Designer
from search.samplers.frontier.history import StageSeconds, Trial
from search.samplers.gp.kernel import Prior
from search.samplers.optuna_samplers import DRAWS, optuna_sampler
from spaces.file.sampler_names import SamplerName

POPULATION = 24
"""Population of NSGA-II, as in a search of 144 trials."""


class RandomRowSampler:
    """Draws untried rows uniformly; the base of the samplers that know which rows are untried."""

    def __init__(self, table: Table, seed: int) -> None:
        self._table = table
        self._rng = np.random.default_rng(seed)
        self._untried = np.ones(len(table), dtype=bool)
        self._top = {name: len(values) - 1 for name, values in table.levels.items()}
        self._row_at = {tuple(point): row for row, point in enumerate(table.points.tolist())}

    def ask(self) -> int | None:
        """An untried row, or None if there is none."""
        if not self._untried.any():
            return None
        row = self._choose()
        self._untried[row] = False
        return row

    def tell(self, row: int) -> None:
        """Ignored."""

    def _choose(self) -> int:
        """An untried row, of which there is at least one."""
        return self._random_row()

    def _random_row(self) -> int:
        return int(self._rng.choice(np.flatnonzero(self._untried)))

    def _untried_at(self, params: dict[str, Any]) -> int | None:
        """The untried row with these level indices, if there is one."""
        row = self._row_at.get(tuple(int(params[name]) for name in self._top))
        return row if row is not None and self._untried[row] else None

    def _params(self, row: int) -> dict[str, int]:
        return dict(zip(self._top, self._table.points[row].tolist(), strict=True))

    def _costs(self, row: int) -> list[float]:
        """The row's objectives, both to be minimised."""
        return [-float(self._table.accuracy[row]), float(self._table.log_size[row])]


class OptunaRowSampler(RandomRowSampler):
    """An Optuna sampler on ordinal dimensions, with accuracy and log10 of bytes as objectives.

    A proposal that was tried, or that the table lacks, takes no time: another is drawn, and after
    some, a random row, whose result the sampler is told like any other.
    """

    OBJECTIVES = 2

    def __init__(self, table: Table, seed: int, sampler: SamplerName) -> None:
        super().__init__(table, seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._draws = DRAWS[sampler]
        self._study = optuna.create_study(
            directions=["minimize"] * self.OBJECTIVES,
            sampler=optuna_sampler(sampler, seed=seed, population=POPULATION),
        )
        self._space: dict[str, BaseDistribution] = {
            name: IntDistribution(0, top) for name, top in self._top.items()
        }
        self._trial_of: dict[int, int] = {}

    def _choose(self) -> int:
        rejected = []
        for _ in range(self._draws):
            trial = self._study.ask(self._space)
            row = self._untried_at(trial.params)
            if row is not None:
                break
            # Left running until a row is found, because the samplers avoid what is running. If it
            # failed at once, TPE would repeat itself and most of its rows would be random.
            rejected.append(trial)
        else:
            row = self._random_row()
            self._study.enqueue_trial(self._params(row))
            trial = self._study.ask(self._space)
        for repeat in rejected:
            self._study.tell(repeat, state=TrialState.FAIL)
        self._trial_of[row] = trial.number
        return row

    def tell(self, row: int) -> None:
        """Tell Optuna the row's objectives."""
        self._study.tell(self._trial_of.pop(row), self._costs(row))


class FrontierRowSampler:
    """The designer of the ``frontier`` sampler, which knows the sizes of a table beforehand."""

    def __init__(self, table: Table, seed: int, prior: Prior | None = None) -> None:
        self._table = table
        self.designer = Designer(design_space_of(table), seed, prior)
        self._running: list[tuple[int, int]] = []
        candidates = zip(table.run.tolist(), table.compression.tolist(), strict=True)
        self._row = {candidate: row for row, candidate in enumerate(candidates)}

    def ask(self) -> int | None:
        """The row that the designer suggests."""
        proposal = self.designer.proposals(self._running).best()
        if proposal is None:
            return None
        self._running.append(proposal.candidate)
        return self._row[proposal.candidate]

    def tell(self, row: int) -> None:
        """Update the designer with the row's accuracy and seconds."""
        c = self._table.columns
        run, compression = int(self._table.run[row]), int(self._table.compression[row])
        self._running.remove((run, compression))
        seconds = StageSeconds(
            stable=c["train_seconds_stable"][row],
            cooldown=c["train_seconds_cooldown"][row],
            evaluate=c["compress_eval_seconds"][row],
        )
        quality = float(self._table.accuracy[row])
        error = float(self._table.error[row])
        known = None if np.isnan(error) else error
        self.designer.update([Trial(run, compression, quality, known, seconds)])


class OracleRowSampler(RandomRowSampler):
    """A greedy bound: knows the whole table, and takes the row that gains most per second."""

    def __init__(self, table: Table, seed: int = 0) -> None:
        super().__init__(table, seed)
        self._rows: list[int] = []
        self._stable = np.zeros(table.stable_path.max() + 1)
        self._trained = np.zeros(table.run.max() + 1, dtype=bool)

    def _choose(self) -> int:
        left = np.flatnonzero(self._untried)
        row = int(left[np.argmax(self._gains(left) / self._seconds(left))])
        self._rows.append(row)
        path = self._table.stable_path[row]
        stable = self._table.columns["train_seconds_stable"][row]
        self._stable[path] = max(stable, self._stable[path])
        self._trained[self._table.run[row]] = True
        return row

    def _seconds(self, rows: Integers) -> Floats:
        c, table = self._table.columns, self._table
        stored = self._stable[table.stable_path[rows]]
        missing = np.maximum(c["train_seconds_stable"][rows] - stored, 0.0)
        training = missing + c["train_seconds_cooldown"][rows]
        training[self._trained[table.run[rows]]] = 0.0
        return np.maximum(training + c["compress_eval_seconds"][rows], 1e-9)

    def _gains(self, rows: Integers) -> Floats:
        table, chosen = self._table, np.array(self._rows, dtype=np.int64)
        order = chosen[np.argsort(table.log_size[chosen], kind="stable")]
        starts = np.append(-np.inf, table.log_size[order])
        ends = np.append(table.log_size[order], table.log_size.max())
        level = np.maximum.accumulate(np.append(table.accuracy.min(), table.accuracy[order]))
        widths = np.maximum(ends - np.maximum(starts, table.log_size[rows][:, None]), 0.0)
        heights = np.maximum(table.accuracy[rows][:, None] - level, 0.0)
        gains: Floats = (widths * heights).sum(1)
        return gains


ROW_SAMPLERS: dict[str, Callable[[Table, int], RowSampler]] = {
    "frontier": FrontierRowSampler,
    **{name: partial(OptunaRowSampler, sampler=name) for name in DRAWS},
    "random": RandomRowSampler,
    "grid": lambda table, seed: FixedOrder(np.arange(len(table))),
    "oracle": OracleRowSampler,
}
"""The samplers of a search by their names, and the oracle."""


def replays(
    table: Table, sampler: str, *, seeds: int, workers: int, sharing: bool, until: float
) -> Summary:
    """Replay a sampler with the seeds 0, 1, and so on."""
    samplers = (ROW_SAMPLERS[sampler](table, seed) for seed in range(seeds))
    made = [replay(table, s, workers=workers, sharing=sharing, until=until) for s in samplers]
    return Summary(sampler, sharing, workers, made)
