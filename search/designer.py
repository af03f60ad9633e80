"""Choosing what to train and how to compress it: the greatest expected gain per second.

A designer knows nothing of Optuna or Ray: it takes finished trials and names the next one, and its
state can be made again from the trials at any time (the seam of OSS Vizier's designers).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, qmc

from objectives.threads import threads
from search.acquisition import Staircase
from search.arrays import Booleans, Floats, Integers
from search.menu import Menu, Trial
from search.prices import Prices
from search.surrogate import Features, Prior, Surrogate, fit

SAMPLES = 64
LARGEST_BLOCKS = 4096
"""Candidates that are compared; of larger menus, a part that changes as trials come in."""
LARGEST_HISTORY = 512
"""Trials that the surrogate is conditioned on; of more, the most accurate and the latest."""
FIRST_FIT = 4
REFIT_GROWTH = 1.25
FLOOR_MARGIN = 0.3
"""Distance of the surrogate's floor from the lowest accuracy, as a share of their range."""
UNKNOWN_VARIANCE = 0.25 / 1000
"""Of an accuracy's noise: that of a thousand examples."""
OWN_NOISE = 0.25
"""Share of that noise that is not common to the compressions of one run: they are measured on the
same examples."""
TRIES = 1.5
"""Compressions that are evaluated for each one that ends up on the frontier."""


@dataclass(frozen=True)
class Suggestion:
    """What to do next.

    Args:
        run: The training run.
        compression: The compression.
        rate: Expected hypervolume gained per second, in accuracy times log10 of cost.
    """

    run: int
    compression: int
    rate: float


class Designer:
    """Chooses trials of a menu.

    Args:
        menu: What can be chosen.
        prior: What the surrogate believes before any trial.
        seed: Seed of the samples, and of the parts of large menus.
    """

    def __init__(self, menu: Menu, prior: Prior, seed: int) -> None:
        self._menu = menu
        self._prior = prior
        self._seed = seed
        self._trials: list[Trial] = []
        self._tried = np.zeros((len(menu.runs), len(menu.compressions)), dtype=bool)
        self._prices = Prices(menu)
        self._spent = 0.0
        self._fitted_at = -1
        self._observed = 0

    def add(self, trials: Iterable[Trial]) -> None:
        """Take finished trials in."""
        for trial in trials:
            self._trials.append(trial)
            self._tried[trial.run, trial.compression] = True
            if trial.accuracy is not None:
                self._spent += self._prices.learn(trial)

    @property
    def average_rate(self) -> float:
        """Hypervolume gained per second of all work so far, in the unit of ``Suggestion.rate``."""
        if not self._spent:
            return 0.0
        _, staircase = self._with([])
        return staircase.area_above(self._floor + self._margin) / self._spent

    def suggest(
        self, running: list[tuple[int, int]], *, in_memory: int | None = None
    ) -> Suggestion | None:
        """The next trial.

        Args:
            running: Run and compression of each trial that is under way.
            in_memory: A run whose trained model the asking worker will have.

        Returns:
            None where everything left would train what is being trained now, or nothing is left.
        """
        # Its matrices are small: more threads than one only get into each other's way.
        with threads(1):
            self._refresh()
            surrogate, staircase = self._with(running)
        available = self._prices.trained.copy()
        if in_memory is not None:
            available[in_memory] = True
        seconds = np.where(available, 0.0, self._prices.training())[self._runs]
        evaluating = self._prices.evaluating()[self._runs]
        first = staircase.first_step(np.nan_to_num(self._log_costs, nan=np.inf))
        free = self._free(running, available) & (first < len(staircase.level))
        accuracy = self._accuracy(surrogate.samples(self._normals))
        gain = staircase.improvement(accuracy, np.minimum(first, len(staircase.level))).mean(0)
        price = seconds[:, None] + evaluating[:, None]
        rate = np.where(free, gain / price, -1.0)
        untrained = np.flatnonzero((seconds > 0.0) & free.any(1))
        if len(untrained):
            offered = np.where(free[untrained], accuracy[:, untrained], -np.inf)
            together, members = staircase.joint_improvement(offered, first[untrained])
            tries = np.maximum(TRIES * members, 1.0)
            rate[untrained] = -1.0
            leader = np.where(free[untrained], gain[untrained], -1.0).argmax(1)
            rate[untrained, leader] = together / (
                seconds[untrained] + tries * evaluating[untrained]
            )
        if not (rate >= 0.0).any():
            return None
        block, column = np.unravel_index(int(rate.argmax()), rate.shape)
        return Suggestion(
            run=int(self._runs[block]),
            compression=int(self._columns[column]),
            rate=float(rate[block, column]),
        )

    def _refresh(self) -> None:
        """Refit after the history has grown by a quarter, else take the new trials in."""
        due = _fit_size(len(self._trials))
        if due != self._fitted_at:
            self._fitted_at = due
            self._refit(due)
        new = self._trials[self._observed :]
        self._surrogate.observe(self._features(new), self._values(new), self._noise(new))
        self._observed = len(self._trials)

    def _refit(self, count: int) -> None:
        # From the first trials alone, so that a designer made again from the record agrees.
        history = self._trials[:count]
        reached = [t.accuracy for t in history if t.accuracy is not None]
        guessing = [] if self._menu.floor is None else [self._menu.floor]
        low = min([*reached, *guessing], default=0.0)
        self._margin = max(0.01, FLOOR_MARGIN * (max(reached, default=low) - low))
        self._floor = low - self._margin
        kept = self._informative(history)
        hyperparameters = None
        if count >= FIRST_FIT:
            hyperparameters = fit(
                self._features(kept), self._values(kept), self._noise(kept), self._prior
            )
        self._choose_blocks(history)
        runs, columns = np.repeat(self._runs, len(self._columns)), self._columns
        everything = Features(
            self._menu.runs[runs],
            np.tile(self._menu.compressions[columns], (len(self._runs), 1)),
            runs,
        )
        self._surrogate = Surrogate(everything, len(columns), self._prior, hyperparameters)
        self._surrogate.observe(self._features(kept), self._values(kept), self._noise(kept))
        self._observed = count
        self._normals = _normals(len(columns), self._seed)

    def _choose_blocks(self, history: list[Trial]) -> None:
        """All of a small menu; of a large one, what lies near the best so far and a random rest."""
        menu = self._menu
        runs, columns = np.arange(len(menu.runs)), np.arange(len(menu.compressions))
        if len(runs) * len(columns) > LARGEST_BLOCKS:
            rng = np.random.default_rng([self._seed, len(history)])
            best = sorted(
                (t for t in history if t.accuracy is not None),
                key=lambda trial: -(trial.accuracy or 0.0),
            )
            columns = _part(rng, len(columns), [t.compression for t in best], 32)
            runs = _part(rng, len(runs), [t.run for t in best], LARGEST_BLOCKS // len(columns))
        self._runs, self._columns = runs, columns
        self._log_costs = menu.log_costs(runs)[:, columns]

    def _informative(self, history: list[Trial]) -> list[Trial]:
        if len(history) <= LARGEST_HISTORY:
            return history
        latest = history[-LARGEST_HISTORY // 2 :]
        rest = history[: -LARGEST_HISTORY // 2]
        rest = sorted(rest, key=lambda trial: -(trial.accuracy or 0.0))
        return [*rest[: LARGEST_HISTORY // 2], *latest]

    def _with(self, running: list[tuple[int, int]]) -> tuple[Surrogate, Staircase]:
        """The surrogate and the frontier as if running trials had come out as expected."""
        finished = [t for t in self._trials if t.accuracy is not None]
        accuracy = np.array([t.accuracy for t in finished], dtype=np.float64)
        surrogate = self._surrogate
        if running:
            pending = [Trial(run, compression, None) for run, compression in running]
            surrogate = copy.copy(surrogate)
            expected = surrogate.believe(self._features(pending), self._noise(pending))
            accuracy = np.append(accuracy, self._accuracy(expected))
            finished = [*finished, *pending]
        log_cost = self._costs_of(finished)
        known = np.isfinite(log_cost)
        floor = self._floor + self._margin
        staircase = Staircase.of(
            accuracy[known], log_cost[known], floor=floor, limits=self._menu.limits
        )
        return surrogate, staircase

    def _costs_of(self, trials: list[Trial]) -> Floats:
        if not trials:
            return np.zeros(0)
        runs, place = np.unique([t.run for t in trials], return_inverse=True)
        costs: Floats = self._menu.log_costs(runs)[place, [t.compression for t in trials]]
        return costs

    def _free(self, running: list[tuple[int, int]], available: Booleans) -> Booleans:
        free = ~self._tried[np.ix_(self._runs, self._columns)]
        architecture = self._menu.architecture
        training = [run for run, _ in running if not self._prices.trained[run]]
        # Another run of the same architecture would wait for the prefix that they share.
        busy = np.isin(architecture[self._runs], architecture[training])
        free[busy & ~available[self._runs]] = False
        for run, compression in running:
            free[np.ix_(self._runs == run, self._columns == compression)] = False
        return free

    def _features(self, trials: list[Trial]) -> Features:
        runs = np.array([t.run for t in trials], dtype=np.int64)
        columns = np.array([t.compression for t in trials], dtype=np.int64)
        return Features(self._menu.runs[runs], self._menu.compressions[columns], runs)

    def _values(self, trials: list[Trial]) -> Floats:
        reached = [self._floor if t.accuracy is None else t.accuracy for t in trials]
        above = np.maximum(np.array(reached, dtype=np.float64) - self._floor, self._margin / 5)
        values: Floats = np.log(above)
        return values

    def _noise(self, trials: list[Trial]) -> Floats:
        variances = np.array(
            [UNKNOWN_VARIANCE if t.variance is None else t.variance for t in trials]
        )
        reached = [self._floor if t.accuracy is None else t.accuracy for t in trials]
        above = np.maximum(np.array(reached) - self._floor, self._margin)
        noise: Floats = OWN_NOISE * variances / above**2
        return noise

    def _accuracy(self, values: Floats) -> Floats:
        return np.minimum(np.exp(values) + self._floor, 1.0)


def _fit_size(count: int) -> int:
    """The largest size of history, of those at which hyperparameters are fitted, up to a count."""
    size = 0
    following = FIRST_FIT
    while following <= count:
        size, following = following, max(following + 1, int(following * REFIT_GROWTH))
    return size


def _normals(width: int, seed: int) -> Floats:
    """Standard normal numbers that fill the space evenly, ``(SAMPLES, width)``."""
    uniform = qmc.Sobol(width, seed=seed).random(SAMPLES)
    normals: Floats = norm.ppf(np.clip(uniform, 1e-6, 1.0 - 1e-6))
    return normals


def _part(rng: np.random.Generator, count: int, best: list[int], size: int) -> Integers:
    """Some of ``range(count)``: half the best and their neighbours, the others at random."""
    if count <= size:
        return np.arange(count)
    chosen = dict.fromkeys(
        place for index in best for place in (index, index - 1, index + 1) if 0 <= place < count
    )
    kept = list(chosen)[: size // 2]
    rest = np.setdiff1d(np.arange(count), kept)
    return np.sort(
        np.concatenate([kept, rng.choice(rest, size - len(kept), replace=False)])
    ).astype(np.int64)
