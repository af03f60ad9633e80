"""The designer: suggests the candidate with the greatest expected gain in hypervolume per second.

It knows nothing of Optuna or Ray. It is updated with finished trials and suggests the next one, and
its state is a function of those trials (the ``Designer`` of OSS Vizier: Song et al. 2022, arXiv
2207.13676).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from search.arrays import Booleans, Floats, one_blas_thread
from search.samplers.frontier.acquisition import (
    Proposals,
    Reached,
    Slice,
    Staircase,
    from_the_frontier_on,
    slices,
)
from search.samplers.frontier.cost_model import CostModel, Seconds
from search.samplers.frontier.design_space import Candidates, DesignSpace, choose_candidates
from search.samplers.frontier.history import TWO_SIDED_95, FailureCause, Trial
from search.samplers.frontier.prior import prior_for
from search.samplers.frontier.surrogate import Surrogate
from search.samplers.gp.kernel import Prior

FIRST_FIT = 4
REFIT_GROWTH = 1.25
LONGEST_WAIT = 128
"""Trials after which the Gaussian processes are fitted again at the latest."""
PARTS = 8
"""Subsets of a large design space to search before reporting that no candidate is left."""
TRIES = 2.5
"""Compressions that are evaluated for each one that joins the frontier."""
ABOVE_BEST = 0.25
"""By how much the limits of a further score exceed the best so far, of its range."""


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
        self._seed = seed
        prior = prior or prior_for(space)
        baselines = (space.baseline, *space.further_baselines)
        self._surrogates = [
            Surrogate(space, prior, baseline, seed=seed, place=place)
            for place, baseline in enumerate(baselines)
        ]
        """Of each score, the first one first."""
        self._trials: list[Trial] = []
        self._earlier: list[Trial] = []
        """Complete trials of earlier searches."""
        self._tried = np.zeros((len(space.runs), len(space.compressions)), dtype=bool)
        self._cannot_train = np.zeros(len(space.runs), dtype=bool)
        """Runs that failed because of the machine, or would fail."""
        self._cost_model: Seconds = cost_model or CostModel(space)
        self._spent = 0.0
        """Device-seconds of work."""
        self._reached: list[Reached] = []
        """Of each complete trial."""
        self._fitted_at = -1
        self._candidates: Candidates
        self._further_costs: Floats
        """Further costs of the candidates, ``(r, c, costs)``."""

    def learn(self, trials: Iterable[Trial]) -> None:
        """Learn from trials of earlier searches, before the first of this one.

        They are observations alone: neither tried, nor on the frontier, nor work of this search.
        """
        for trial in trials:
            for surrogate in self._surrogates:
                surrogate.learn(trial)
            if trial.quality is not None:
                self._earlier.append(trial)

    def update(self, trials: Iterable[Trial]) -> None:
        """Learn from finished trials."""
        for trial in trials:
            self._trials.append(trial)
            for surrogate in self._surrogates:
                surrogate.update(trial)
            self._tried[trial.candidate] = True
            if trial.quality is None:
                self._close(trial)
            else:
                seconds = self._cost_model.update(trial)
                self._spent += seconds * float(self._space.occupied[trial.run])
                self._reached.append(self._point(trial))

    def _close(self, failed: Trial) -> None:
        """Let no run be trained that would fail as a trial did."""
        if failed.cause is FailureCause.MACHINE:
            self._cannot_train[failed.run] = True
        elif failed.cause is FailureCause.MEMORY:
            self._cannot_train[self._space.at_least_as_large(failed.run)] = True

    @property
    def average_rate(self) -> float:
        """Hypervolume gained per device-second of work so far, in the unit of ``Proposal.rate``."""
        if not self._spent:
            return 0.0
        self._refresh()
        areas = [
            self._staircase(self._reached, each).area_above(self._first.transform.lowest)
            for each in self._slices()
        ]
        return float(np.mean(areas)) / self._spent

    def predict(self, run: int, compression: int) -> tuple[float, float, float]:
        """Expected quality of a candidate, between the ends of its 95 % interval."""
        with one_blas_thread():
            self._refresh()
            return self._first.interval(run, compression)

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
        sampled = [surrogate.samples(running) for surrogate in self._surrogates]
        quality, further = sampled[0][0], [each for each, _ in sampled[1:]]
        expected = np.column_stack([values for _, values in sampled])
        pending = [
            (*each, *self._costs(candidate))
            for each, candidate in zip(expected.tolist(), self._first.pending, strict=True)
        ]
        points = [*self._incumbents(), *pending]
        trained = self._cost_model.is_trained.copy()
        if in_memory is not None:
            trained[in_memory] = True
        parts = [(each, self._staircase(points, each)) for each in self._slices()]
        return self._evaluated(quality, further, parts, self._free(running, trained), trained)

    def _evaluated(
        self,
        quality: Floats,
        further: Sequence[Floats],
        parts: Sequence[tuple[Slice, Staircase]],
        free: Booleans,
        trained: Booleans,
    ) -> Proposals:
        """Proposals with the mean gain in some slices of the further objectives.

        Args:
            quality: Samples of the first score, ``(samples, r, c)``.
            further: The same of each further score.
        """
        runs, compressions = self._candidates.runs, self._candidates.compressions
        training = np.where(trained, 0.0, self._cost_model.training_seconds())[runs]
        evaluating = self._cost_model.evaluation_seconds(runs, compressions)
        free = free & parts[0][1].is_within(self._candidates.log_costs)
        inside = [self._inside(each, stairs, quality, further) for each, stairs in parts]
        gain = np.mean(
            [
                stairs.improvement(sampled, costs).mean(0)
                for (_, stairs), (sampled, costs) in zip(parts, inside, strict=True)
            ],
            axis=0,
        )
        gain = np.where(free, gain, -np.inf)
        seconds = training[:, None] + evaluating
        untrained = np.flatnonzero((training > 0.0) & free.any(1))
        if len(untrained):
            # Training a run pays for all its compressions: they are credited to the best of them.
            joint = [
                stairs.joint_improvement(
                    np.where(free[untrained], sampled[:, untrained], -np.inf), costs[untrained]
                )
                for (_, stairs), (sampled, costs) in zip(parts, inside, strict=True)
            ]
            together = np.mean([area for area, _ in joint], axis=0)
            members = np.max([count for _, count in joint], axis=0)
            leader = gain[untrained].argmax(1)
            gain[untrained] = -np.inf
            gain[untrained, leader] = together
            tries = np.maximum(TRIES * members, 1.0)
            seconds[untrained, leader] = training[untrained] + tries * evaluating[untrained, leader]
        seconds *= self._space.occupied[runs][:, None]
        return Proposals(runs, compressions, gain, seconds, quality, trained[runs])

    def _inside(
        self, part: Slice, stairs: Staircase, quality: Floats, further: Sequence[Floats]
    ) -> tuple[Floats, Floats]:
        """Samples of the first score and the first costs of all candidates in a slice: what is
        beyond it has the quality of the reference point, or no cost, and gains nothing."""
        costs = self._candidates.log_costs
        if len(part.most):
            costs = np.where(part.has_costs(self._further_costs), costs, np.nan)
        if further:
            is_inside = part.has_qualities(np.stack(further, axis=-1))
            quality = np.where(is_inside, quality, stairs.level[0])
        return quality, costs

    def _slices(self) -> list[Slice]:
        """Limits of the further objectives, others after each finished trial."""
        ranges = [
            (each.transform.lowest, each.transform.lowest + (1 + ABOVE_BEST) * each.transform.range)
            for each in self._surrogates[1:]
        ]
        rng = np.random.default_rng([self._seed, len(self._trials)])
        return slices(ranges, self._space.further_limits, rng)

    def _incumbents(self) -> list[Reached]:
        """Expected qualities, given all trials, and costs of those that may be on the frontier.

        The best of many noisy scores is better than its model: as it is, it would hide gains.
        """
        if not self._reached:
            return []
        rows = np.array(self._reached)
        quality, log_cost = rows[:, 0], rows[:, len(self._surrogates)]
        complete = [trial for trial in self._trials if trial.quality is not None]
        deviation = self._first.deviation(complete)
        is_near = np.zeros(len(rows), dtype=bool)
        for part in self._slices():
            level = self._staircase(self._reached, part).level_at(
                np.nan_to_num(log_cost, nan=np.inf)
            )
            is_near |= self._has(part, rows) & (quality >= level - TWO_SIDED_95 * deviation)
        near = np.flatnonzero(is_near)
        candidates = [complete[index].candidate for index in near]
        means = np.column_stack([each.expected(candidates) for each in self._surrogates])
        costs = rows[near, len(self._surrogates) :]
        return [tuple(row) for row in np.hstack([means, costs]).tolist()]

    def _refresh(self) -> None:
        due = fit_size(len(self._trials))
        if due != self._fitted_at:
            self._fitted_at = due
            self._fit(due)
        for surrogate in self._surrogates:
            surrogate.refresh()

    def _fit(self, count: int, attempt: int = 0) -> None:
        """Fit the surrogates to the first ``count`` trials, over new candidates."""
        # Of those trials alone, so that a designer that is made again from the study agrees.
        trials = self._trials[:count]
        complete = [trial for trial in trials if trial.quality is not None]
        known = [*self._earlier, *complete]
        before = [self._point(trial) for trial in self._earlier]
        scores = len(self._surrogates)
        order = from_the_frontier_on([*before, *self._reached[: len(complete)]], scores)
        best = [known[index].candidate for index in order]
        tried = np.zeros_like(self._tried)
        tried[[t.run for t in trials], [t.compression for t in trials]] = True
        rng = np.random.default_rng([self._seed, count, attempt])
        near = [candidate for candidate in best if self._space.has(*candidate)]
        self._candidates = choose_candidates(self._space, near, tried, rng)
        chosen = self._candidates
        self._further_costs = self._space.further(chosen.runs)[:, chosen.compressions]
        for surrogate in self._surrogates:
            surrogate.fit(count, best, chosen)

    @property
    def _first(self) -> Surrogate:
        return self._surrogates[0]

    def _point(self, trial: Trial) -> Reached:
        assert trial.quality is not None
        further = (each.quality for each in trial.further)
        return trial.quality, *further, *self._costs(trial.candidate)

    def _costs(self, candidate: tuple[int, int]) -> Reached:
        """Logarithms of the costs of a candidate, the first one first."""
        run, compression = candidate
        chosen = np.array([run])
        first = float(self._space.log_costs(chosen)[0, compression])
        return first, *self._space.further(chosen)[0, compression].tolist()

    def _has(self, part: Slice, rows: Floats) -> Booleans:
        """Which of some points, ``(n, objectives)``, are in a slice."""
        scores = len(self._surrogates)
        return part.has_qualities(rows[:, 1:scores]) & part.has_costs(rows[:, scores + 1 :])

    def _staircase(self, points: Sequence[Reached], part: Slice) -> Staircase:
        """The staircase of those points that are in a slice."""
        scores = len(self._surrogates)
        rows = np.array(points, dtype=np.float64)
        rows = rows.reshape(-1, scores + 1 + len(self._space.further_limits))
        rows = rows[self._has(part, rows)]
        reference, limits = self._first.transform.lowest, self._space.limits
        return Staircase.of(rows[:, 0], rows[:, scores], reference=reference, limits=limits)

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


def fit_size(count: int) -> int:
    """The number of trials of the last fit that is due after ``count`` trials."""
    size = 0
    following = FIRST_FIT
    while following <= count:
        grown = max(following + 1, int(following * REFIT_GROWTH))
        size, following = following, min(grown, following + LONGEST_WAIT)
    return size
