"""The samplers that a replay knows, each choosing rows of a recorded table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState

from search.arrays import Floats, Integers
from search.replay.replay import RowSampler, replay
from search.replay.report import Summary
from search.replay.table import Table, design_space_of
from search.samplers.frontier.designer import Designer
from search.samplers.frontier.features import PRIOR
from search.samplers.frontier.history import StageSeconds, Trial
from search.samplers.gp.kernel import Prior

DRAWS = 16
"""Proposals before a row is drawn at random."""
POPULATION = 24
"""A generation of NSGA-II; its default of 50 would make the first hundred trials mostly random."""


class RandomRowSampler:
    """Untried rows, uniformly; also what the other choosers share."""

    def __init__(self, table: Table, seed: int) -> None:
        self._table = table
        self._rng = np.random.default_rng(seed)
        self._untried = np.ones(len(table), dtype=bool)
        self._top = {name: len(values) - 1 for name, values in table.levels.items()}
        self._row_at = {tuple(point): row for row, point in enumerate(table.points.tolist())}

    def ask(self) -> int | None:
        """A row that was not asked for before, or None when there is none."""
        if not self._untried.any():
            return None
        row = self._choose()
        self._untried[row] = False
        return row

    def tell(self, row: int) -> None:
        """Nothing to learn."""

    def _choose(self) -> int:
        """An untried row, of which there is at least one."""
        return self._random_row()

    def _random_row(self) -> int:
        return int(self._rng.choice(np.flatnonzero(self._untried)))

    def _untried_at(self, params: dict[str, Any]) -> int | None:
        """The row with these level indices, if the table has it and it is untried."""
        row = self._row_at.get(tuple(int(params[name]) for name in self._top))
        return row if row is not None and self._untried[row] else None

    def _params(self, row: int) -> dict[str, int]:
        return dict(zip(self._top, self._table.points[row].tolist(), strict=True))

    def _costs(self, row: int) -> list[float]:
        """The row's objectives, both to be minimised."""
        return [-float(self._table.accuracy[row]), float(self._table.log_size[row])]


class OptunaRowSampler(RandomRowSampler):
    """An Optuna sampler on ordinal dimensions, with accuracy and log10 of bytes as objectives.

    A proposal that was tried, or that the table lacks, costs nothing: another is drawn, and after
    some, a row at random, of which the sampler learns like any other.
    """

    def __init__(self, table: Table, seed: int, sampler: Literal["tpe", "nsgaii", "gp"]) -> None:
        super().__init__(table, seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # A draw of the Gaussian process is a whole optimisation of its acquisition function.
        self._draws = 2 if sampler == "gp" else DRAWS
        self._study = optuna.create_study(
            directions=["minimize", "minimize"], sampler=_optuna_sampler(sampler, seed)
        )
        self._space: dict[str, BaseDistribution] = {
            name: IntDistribution(0, top) for name, top in self._top.items()
        }
        self._trial_of: dict[int, int] = {}

    def _choose(self) -> int:
        unusable = []
        for _ in range(self._draws):
            trial = self._study.ask(self._space)
            row = self._untried_at(trial.params)
            if row is not None:
                break
            # Left running until a row is found: the samplers draw away from what is running.
            # Handed back at once, TPE repeats itself until most of its rows are random ones.
            unusable.append(trial)
        else:
            row = self._random_row()
            self._study.enqueue_trial(self._params(row))
            trial = self._study.ask(self._space)
        for repeat in unusable:
            self._study.tell(repeat, state=TrialState.FAIL)
        self._trial_of[row] = trial.number
        return row

    def tell(self, row: int) -> None:
        """Pass a result on."""
        self._study.tell(self._trial_of.pop(row), self._costs(row))


def _optuna_sampler(name: Literal["tpe", "nsgaii", "gp"], seed: int) -> BaseSampler:
    if name == "tpe":
        return TPESampler(multivariate=True, constant_liar=True, seed=seed)
    if name == "nsgaii":
        return NSGAIISampler(population_size=POPULATION, seed=seed)
    return GPSampler(seed=seed)


class FrontierRowSampler:
    """tlc's designer on a table: it knows sizes beforehand, and learns accuracies and times."""

    def __init__(self, table: Table, seed: int, prior: Prior = PRIOR) -> None:
        self._table = table
        self.designer = Designer(design_space_of(table), prior, seed)
        self._running: list[tuple[int, int]] = []
        self._row = {
            (int(run), int(compression)): row
            for row, (run, compression) in enumerate(zip(table.run, table.compression, strict=True))
        }

    def ask(self) -> int | None:
        """The designer's suggestion."""
        suggestion = self.designer.suggest(self._running)
        if suggestion is None:
            return None
        place = (suggestion.run, suggestion.compression)
        self._running.append(place)
        return self._row[place]

    def tell(self, row: int) -> None:
        """Pass a result on."""
        c = self._table.columns
        place = (int(self._table.run[row]), int(self._table.compression[row]))
        self._running.remove(place)
        seconds = StageSeconds(
            stable=c["train_seconds_stable"][row],
            cooldown=c["train_seconds_cooldown"][row],
            evaluate=c["compress_eval_seconds"][row],
        )
        self.designer.update([Trial(*place, quality=float(c["accuracy"][row]), seconds=seconds)])


class OracleRowSampler:
    """The greedy bound: it knows the table, and takes the row that gains most for each second."""

    def __init__(self, table: Table, seed: int = 0) -> None:
        self._table = table
        self._rows: list[int] = []
        self._left = np.ones(len(table), dtype=bool)
        self._stable = np.zeros(table.architecture.max() + 1)
        self._trained = np.zeros(table.run.max() + 1, dtype=bool)

    def ask(self) -> int | None:
        """The best row for each second of its work."""
        left = np.flatnonzero(self._left)
        if len(left) == 0:
            return None
        row = int(left[np.argmax(self._gains(left) / self._prices(left))])
        self._left[row] = False
        self._rows.append(row)
        architecture = self._table.architecture[row]
        stable = self._table.columns["train_seconds_stable"][row]
        self._stable[architecture] = max(stable, self._stable[architecture])
        self._trained[self._table.run[row]] = True
        return row

    def tell(self, row: int) -> None:
        """Nothing new to it."""

    def _prices(self, rows: Integers) -> Floats:
        c, table = self._table.columns, self._table
        missing = np.maximum(
            c["train_seconds_stable"][rows] - self._stable[table.architecture[rows]], 0.0
        )
        training = missing + c["train_seconds_cooldown"][rows]
        evaluating = c["compress_eval_seconds"][rows]
        prices: Floats = np.where(self._trained[table.run[rows]], 0.0, training) + evaluating
        return np.maximum(prices, 1e-9)

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
    "tpe": partial(OptunaRowSampler, sampler="tpe"),
    "nsgaii": partial(OptunaRowSampler, sampler="nsgaii"),
    "gp": partial(OptunaRowSampler, sampler="gp"),
    "random": RandomRowSampler,
    "oracle": OracleRowSampler,
}
"""What ``tlc replay --sampler`` takes."""


def replays(
    table: Table, sampler: str, *, seeds: int, workers: int, sharing: bool, until: float
) -> Summary:
    """Replay a sampler with the seeds 0, 1, and so on."""
    make = ROW_SAMPLERS[sampler]
    return Summary(
        sampler,
        sharing,
        workers,
        [
            replay(table, make(table, seed), workers=workers, sharing=sharing, until=until)
            for seed in range(seeds)
        ],
    )
