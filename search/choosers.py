"""The samplers that a replay knows, each choosing rows of a recorded table."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState, create_trial

from search.coordinates import PRIOR
from search.designer import Designer
from search.menu import Seconds, Trial
from search.replay import Chooser, replay
from search.replay_report import Summary
from search.table import Table, menu_of

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class RandomChooser:
    """Rows in random order."""

    def __init__(self, table: Table, seed: int) -> None:
        self._left = list(range(len(table)))
        random.Random(seed).shuffle(self._left)

    def ask(self) -> int | None:
        """The next of the order."""
        return self._left.pop() if self._left else None

    def tell(self, row: int) -> None:
        """Nothing to learn."""


class OptunaChooser:
    """An Optuna sampler, on ordinal dimensions, with accuracy and log10 of bytes as objectives.

    A proposal that was tried before, or that the table lacks, costs nothing: another is drawn, and
    after some, a row at random, which the study is told of like any other.

    Args:
        table: The table.
        seed: Seed of the sampler.
        sampler: Makes the sampler from a seed.
        draws: Proposals before a row is drawn at random.
    """

    def __init__(
        self, table: Table, seed: int, sampler: Callable[[int], BaseSampler], draws: int
    ) -> None:
        self._table = table
        self._draws = draws
        self._rest = RandomChooser(table, seed)
        self._study = optuna.create_study(
            directions=["maximize", "minimize"], sampler=sampler(seed)
        )
        self._space: dict[str, BaseDistribution] = {
            name: IntDistribution(0, len(values) - 1) for name, values in table.levels.items()
        }
        self._row = {tuple(map(int, point)): row for row, point in enumerate(table.points)}
        self._tried: set[int] = set()
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self) -> int | None:
        """The sampler's proposal, or a row at random."""
        for _ in range(self._draws):
            trial = self._study.ask(self._space)
            row = self._row.get(tuple(trial.params[name] for name in self._space))
            if row is not None and row not in self._tried:
                self._trials[row] = trial
                self._tried.add(row)
                return row
            self._give_back(trial, row)
        while (row := self._rest.ask()) is not None:
            if row not in self._tried:
                self._tried.add(row)
                return row
        return None

    def tell(self, row: int) -> None:
        """Pass a result on."""
        if row in self._trials:
            self._study.tell(self._trials.pop(row), self._values(row))
            return
        parameters = dict(zip(self._space, map(int, self._table.points[row]), strict=True))
        self._study.add_trial(
            create_trial(params=parameters, distributions=self._space, values=self._values(row))
        )

    def _give_back(self, trial: optuna.Trial, row: int | None) -> None:
        """Tell what a useless proposal would have given: nothing, or the known result again."""
        if row is None or row in self._trials:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, self._values(row))

    def _values(self, row: int) -> list[float]:
        return [float(self._table.accuracy[row]), float(self._table.log_size[row])]


class FrontierChooser:
    """tlc's designer on a table: it knows sizes beforehand, and learns accuracies and times."""

    def __init__(self, table: Table, seed: int) -> None:
        self._table = table
        self._designer = Designer(menu_of(table), PRIOR, seed)
        self._running: list[tuple[int, int]] = []
        self._row = {
            (int(run), int(compression)): row
            for row, (run, compression) in enumerate(zip(table.run, table.compression, strict=True))
        }

    def ask(self) -> int | None:
        """The designer's suggestion."""
        suggestion = self._designer.suggest(self._running)
        if suggestion is None:
            return None
        place = (suggestion.run, suggestion.compression)
        self._running.append(place)
        return self._row[place]

    def tell(self, row: int) -> None:
        """Pass a result on."""
        c, place = (
            self._table.columns,
            (int(self._table.run[row]), int(self._table.compression[row])),
        )
        self._running.remove(place)
        seconds = Seconds(
            stable=c["train_seconds_stable"][row],
            cooldown=c["train_seconds_cooldown"][row],
            evaluate=c["compress_eval_seconds"][row],
        )
        self._designer.add([Trial(*place, accuracy=float(c["accuracy"][row]), seconds=seconds)])


class Oracle:
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


CHOOSERS: dict[str, Callable[[Table, int], Chooser]] = {
    "frontier": FrontierChooser,
    "tpe": lambda table, seed: OptunaChooser(
        table, seed, lambda s: TPESampler(seed=s, multivariate=True, constant_liar=True), 16
    ),
    "nsgaii": lambda table, seed: OptunaChooser(table, seed, lambda s: NSGAIISampler(seed=s), 16),
    "gp": lambda table, seed: OptunaChooser(table, seed, lambda s: GPSampler(seed=s), 2),
    "random": RandomChooser,
    "oracle": Oracle,
}
"""What ``tlc replay --sampler`` takes."""


def replays(
    table: Table, sampler: str, *, seeds: int, workers: int, sharing: bool, until: float
) -> Summary:
    """Replay a sampler with the seeds 0, 1, and so on."""
    make = CHOOSERS[sampler]
    return Summary(
        sampler,
        sharing,
        workers,
        [
            replay(table, make(table, seed), workers=workers, sharing=sharing, until=until)
            for seed in range(seeds)
        ],
    )
