"""The designer: suggests the candidate with the greatest expected gain in hypervolume per second.

It knows nothing of Optuna or Ray. It is updated with finished trials and suggests the next one, and
its state is a function of those trials (the ``Designer`` of OSS Vizier: Song et al. 2022, arXiv
2207.13676).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import moocore
import numpy as np
from scipy.special import ndtri

from search.arrays import Booleans, Floats, one_blas_thread
from search.samplers.frontier.acquisition import Proposals, Staircase
from search.samplers.frontier.cost_model import CostModel, Seconds
from search.samplers.frontier.design_space import Candidates, DesignSpace, choose_candidates
from search.samplers.frontier.history import (
    TWO_SIDED_95,
    FailureCause,
    History,
    Trial,
    errors,
    qualities,
)
from search.samplers.frontier.prior import prior_for
from search.samplers.gp.gaussian_process import GaussianProcessMixture
from search.samplers.gp.hyperparameters import sample_hyperparameters
from search.samplers.gp.kernel import Features, Prior
from search.samplers.gp.outcome_transform import OutcomeTransform

PROCESSES = 4
"""Samples of the hyperparameters, each of which gives one Gaussian process."""
SAMPLES = 32
"""Samples of each process; a power of two, as a Sobol sequence needs."""
FIRST_FIT = 4
REFIT_GROWTH = 1.25
LONGEST_WAIT = 128
"""Trials after which the Gaussian processes are fitted again at the latest."""
PARTS = 8
"""Subsets of a large design space to search before reporting that no candidate is left."""
TRIES = 2.5
"""Compressions that are evaluated for each one that joins the frontier."""


class Designer:
    """Suggests trials of a design space.

    Args:
        seed: Seed of the samples, of the hyperparameters, and of the parts of large spaces.
        prior: Prior of the Gaussian process; by default that of the space's compressions.
        cost_model: Seconds of candidates; by default those of training and compression.
    """

    def __init__(
        self,
        space: DesignSpace,
        seed: int,
        prior: Prior | None = None,
        cost_model: Seconds | None = None,
    ) -> None:
        self._space = space
        self._prior = prior or prior_for(space)
        self._seed = seed
        self._trials: list[Trial] = []
        self._history = History(space)
        self._earlier: list[Trial] = []
        """Complete trials of earlier searches."""
        self._tried = np.zeros((len(space.runs), len(space.compressions)), dtype=bool)
        self._cannot_train = np.zeros(len(space.runs), dtype=bool)
        """Runs that failed because of the machine."""
        self._cost_model: Seconds = cost_model or CostModel(space)
        self._spent = 0.0
        self._reached: list[tuple[float, float]] = []
        """Quality and logarithm of cost of each complete trial."""
        self._fitted_at = -1
        self._observed = 0
        self._pending: list[tuple[int, int]] = []
        """The running candidates that the Gaussian process has as pending."""
        self._candidates: Candidates
        self._transform: OutcomeTransform
        self._process: GaussianProcessMixture

    def learn(self, trials: Iterable[Trial]) -> None:
        """Learn from trials of earlier searches, before the first of this one.

        They are observations alone: neither tried, nor on the frontier, nor work of this search.
        """
        for trial in trials:
            self._history.add_earlier(trial)
            if trial.quality is not None:
                self._earlier.append(trial)

    def update(self, trials: Iterable[Trial]) -> None:
        """Learn from finished trials."""
        for trial in trials:
            self._trials.append(trial)
            self._history.add(trial)
            self._tried[trial.candidate] = True
            if trial.quality is None:
                self._cannot_train[trial.run] |= trial.cause is FailureCause.MACHINE
            else:
                self._spent += self._cost_model.update(trial)
                self._reached.append((trial.quality, self._log_cost(trial.candidate)))

    @property
    def average_rate(self) -> float:
        """Hypervolume gained per second of work so far, in the unit of ``Proposal.rate``."""
        if not self._spent:
            return 0.0
        self._refresh()
        stairs = self._staircase(self._reached)
        return stairs.area_above(self._transform.lowest) / self._spent

    def predict(self, run: int, compression: int) -> tuple[float, float, float]:
        """Expected quality of a candidate, between the ends of its 95 % interval."""
        with one_blas_thread():
            self._refresh()
            mean, variance = self._process.predict(self._history.features([(run, compression)]))
        values = mean + TWO_SIDED_95 * np.sqrt(variance) * np.array([-1.0, 0.0, 1.0])
        low, expected, high = self._transform.quality(values).tolist()
        return low, expected, high

    def seconds(self, run: int, compression: int) -> float:
        """Seconds that a trial of a candidate would take now."""
        own = self._cost_model.evaluation_seconds(np.array([run]), np.array([compression]))
        return float(self._cost_model.training_seconds()[run] + own[0, 0])

    def proposals(
        self, running: list[tuple[int, int]], *, in_memory: int | None = None
    ) -> Proposals:
        """The compared candidates with expected gains and costs.

        There is no best one where no candidate is left that can be tried now.

        Args:
            running: The candidates of running trials.
            in_memory: A run whose trained model the worker that asks will hold.
        """
        with one_blas_thread():
            self._refresh()
            proposals = self._proposals(running, in_memory)
            for attempt in range(1, PARTS):
                if self._candidates.is_whole or proposals.best() is not None:
                    break
                self._fit(len(self._trials), attempt)
                proposals = self._proposals(running, in_memory)
        return proposals

    def _proposals(self, running: list[tuple[int, int]], in_memory: int | None) -> Proposals:
        self._set_pending(running)
        transform = self._transform
        posterior, values = self._process.with_pending(transform.noise)
        quality = self._at_most_dense(transform.quality(posterior.samples(self._normals)))
        expected = zip(transform.quality(values).tolist(), self._pending, strict=True)
        pending = [(each, self._log_cost(candidate)) for each, candidate in expected]
        stairs = self._staircase([*self._incumbents(), *pending])
        trained = self._cost_model.is_trained.copy()
        if in_memory is not None:
            trained[in_memory] = True
        return self._evaluated(quality, stairs, self._free(running, trained), trained)

    def _at_most_dense(self, quality: Floats) -> Floats:
        """Samples of the quality, none of which exceeds that of the same model before compression.

        Of a model that has learnt nothing, compressions would seem to be worth a trial each.
        """
        dense = np.flatnonzero(~self._space.compressions[self._candidates.compressions].any(1))
        if len(dense) == 0:
            return quality
        return np.minimum(quality, quality[:, :, dense[:1]])

    def _evaluated(
        self, quality: Floats, stairs: Staircase, free: Booleans, trained: Booleans
    ) -> Proposals:
        runs, compressions = self._candidates.runs, self._candidates.compressions
        training = np.where(trained, 0.0, self._cost_model.training_seconds())[runs]
        evaluating = self._cost_model.evaluation_seconds(runs, compressions)
        log_costs = self._candidates.log_costs
        free = free & stairs.is_within(log_costs)
        gain = stairs.improvement(quality, log_costs).mean(0)
        gain = np.where(free, gain, -np.inf)
        seconds = training[:, None] + evaluating
        untrained = np.flatnonzero((training > 0.0) & free.any(1))
        if len(untrained):
            # Training a run pays for all its compressions: they are credited to the best of them.
            possible = np.where(free[untrained], quality[:, untrained], -np.inf)
            together, members = stairs.joint_improvement(possible, log_costs[untrained])
            leader = gain[untrained].argmax(1)
            gain[untrained] = -np.inf
            gain[untrained, leader] = together
            tries = np.maximum(TRIES * members, 1.0)
            seconds[untrained, leader] = training[untrained] + tries * evaluating[untrained, leader]
        return Proposals(runs, compressions, gain, seconds, quality, trained[runs])

    def _incumbents(self) -> list[tuple[float, float]]:
        """Expected quality, given all trials, and logarithm of cost of those that may be on the
        frontier.

        The best of many noisy scores is better than its model: as it is, it would hide gains.
        """
        if not self._reached:
            return []
        quality, log_cost = np.array(self._reached).T
        level = self._staircase(self._reached).level_at(np.nan_to_num(log_cost, nan=np.inf))
        complete = [trial for trial in self._trials if trial.quality is not None]
        values = self._transform.values(quality)
        deviation = np.sqrt(self._transform.noise(values, errors(complete))) * self._transform.range
        near = np.flatnonzero(quality >= level - TWO_SIDED_95 * deviation)
        mean, _ = self._process.predict(self._features([complete[index] for index in near]))
        return list(
            zip(self._transform.quality(mean).tolist(), log_cost[near].tolist(), strict=True)
        )

    def _refresh(self) -> None:
        due = fit_size(len(self._trials))
        if due != self._fitted_at:
            self._fitted_at = due
            self._fit(due)
        self._observe(self._history.since(self._observed))
        self._observed = len(self._trials)

    def _observe(self, trials: list[Trial]) -> None:
        values = self._transform.values(qualities(trials))
        noise = self._transform.noise(values, errors(trials))
        self._process.observe(self._features(trials), values, noise)

    def _fit(self, count: int, attempt: int = 0) -> None:
        """Fit the Gaussian processes to the first ``count`` trials, over new candidates."""
        # Of those trials alone, so that a designer that is made again from the study agrees.
        trials = self._trials[:count]
        complete = [trial for trial in trials if trial.quality is not None]
        known = [*self._earlier, *complete]
        self._transform = OutcomeTransform.fit(
            qualities(known), errors(known), self._space.baseline
        )
        before = [
            (trial.quality or 0.0, self._log_cost(trial.candidate)) for trial in self._earlier
        ]
        order = _from_the_frontier_on([*before, *self._reached[: len(complete)]])
        best = [known[index].candidate for index in order]
        observed = self._history.until(count, best)
        values = self._transform.values(qualities(observed))
        hyperparameters = sample_hyperparameters(
            self._features(observed),
            values,
            self._transform.noise(values, errors(observed)),
            self._prior,
            count=PROCESSES,
            rng=np.random.default_rng([self._seed, count]),
        )
        tried = np.zeros_like(self._tried)
        tried[[t.run for t in trials], [t.compression for t in trials]] = True
        rng = np.random.default_rng([self._seed, count, attempt])
        near = [candidate for candidate in best if self._space.has(*candidate)]
        self._candidates = choose_candidates(self._space, near, tried, rng)
        runs, columns = self._candidates.runs, self._candidates.compressions
        features = self._history.features(product(runs.tolist(), columns.tolist()))
        self._process = GaussianProcessMixture(features, len(columns), self._prior, hyperparameters)
        self._observe(observed)
        self._observed = count
        self._pending = []
        self._normals = _normals(len(columns), self._seed)

    def _features(self, trials: list[Trial]) -> Features:
        return self._history.features(trial.candidate for trial in trials)

    def _set_pending(self, running: list[tuple[int, int]]) -> None:
        now, before = dict.fromkeys(running), set(self._pending)
        kept = [index for index, candidate in enumerate(self._pending) if candidate in now]
        new = [candidate for candidate in now if candidate not in before]
        if new or len(kept) < len(self._pending):
            self._process.set_pending(self._history.features(new), kept)
            self._pending = [*(self._pending[index] for index in kept), *new]

    def _log_cost(self, candidate: tuple[int, int]) -> float:
        run, compression = candidate
        return float(self._space.log_costs(np.array([run]))[0, compression])

    def _staircase(self, points: list[tuple[float, float]]) -> Staircase:
        quality, log_cost = np.array(points, dtype=np.float64).reshape(-1, 2).T
        reference, limits = self._transform.lowest, self._space.limits
        return Staircase.of(quality, log_cost, reference=reference, limits=limits)

    def _free(self, running: list[tuple[int, int]], trained: Booleans) -> Booleans:
        """Which candidates can be tried now, ``(r, c)``."""
        runs, compressions = self._candidates.runs, self._candidates.compressions
        free = ~self._tried[np.ix_(runs, compressions)]
        paths = self._space.paths
        training = [run for run, _ in running if not self._cost_model.is_trained[run]]
        # Another run on the same stable path would wait for the prefix that they share.
        must_wait = np.isin(paths[runs], paths[training])
        free[(must_wait | self._cannot_train[runs]) & ~trained[runs]] = False
        for run, compression in running:
            free[np.ix_(runs == run, compressions == compression)] = False
        return free


def _from_the_frontier_on(reached: list[tuple[float, float]]) -> list[int]:
    """Indices of complete trials by their quality and logarithm of cost: the frontier, then the
    frontier of the others, and so on; in each the best first."""
    if not reached:
        return []
    quality, log_cost = np.array(reached).T
    rank = moocore.pareto_rank(np.stack([-quality, np.nan_to_num(log_cost, nan=np.inf)], 1))
    order: list[int] = np.lexsort((-quality, rank)).tolist()
    return order


def fit_size(count: int) -> int:
    """The number of trials of the last fit that is due after ``count`` trials."""
    size = 0
    following = FIRST_FIT
    while following <= count:
        grown = max(following + 1, int(following * REFIT_GROWTH))
        size, following = following, min(grown, following + LONGEST_WAIT)
    return size


def _normals(width: int, seed: int) -> Floats:
    """Quasi-random standard normal numbers, ``(SAMPLES, width)``."""
    # Imported here: scipy.stats takes long to import, and predictions do without it.
    from scipy.stats import qmc

    uniform = qmc.Sobol(width, seed=seed).random(SAMPLES)
    normals: Floats = ndtri(np.clip(uniform, 1e-6, 1.0 - 1e-6))
    return normals
