"""Choosing what to train and how to compress it: the greatest expected gain per second.

A designer knows nothing of Optuna or Ray: it takes finished trials and names the next one, and its
state can be made again from the trials at any time (the seam of OSS Vizier's designers).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.special import ndtri

from search.arrays import Booleans, Floats
from search.samplers.frontier.acquisition import Staircase
from search.samplers.frontier.candidates import Candidates, choose_candidates
from search.samplers.frontier.cost_model import CostModel
from search.samplers.frontier.design_space import DesignSpace, FailureCause, Trial
from search.samplers.frontier.history import History
from search.samplers.frontier.proposals import Proposal, Proposals
from search.samplers.gp.gaussian_process import GaussianProcessMixture
from search.samplers.gp.hyperparameters import sample_hyperparameters
from search.samplers.gp.kernel import Features, Prior
from search.samplers.gp.outcome_transform import OutcomeTransform
from search.samplers.gp.threads import one_thread

PROCESSES = 4
"""Draws of the surrogate's hyperparameters that are mixed."""
SAMPLES = 32
"""Samples of each of them; a power of two, for evenly spread normal numbers."""
FIRST_FIT = 4
REFIT_GROWTH = 1.25
LONGEST_WAIT = 128
"""Trials after which the surrogate is made anew at the latest, which bounds its size."""
TWO_SIDED_95 = 1.96
"""Standard deviations on each side of the mean of a normal distribution."""
PARTS = 8
"""Parts of a large design space that are looked at before there is nothing left to choose."""
TRIES = 1.5
"""Compressions that are evaluated for each one that ends up on the frontier."""


class Designer:
    """Chooses trials of a design_space.

    Args:
        design_space: What can be chosen.
        prior: What the surrogate believes before any trial.
        seed: Seed of the samples, of the hyperparameters, and of the parts of large menus.
    """

    def __init__(self, design_space: DesignSpace, prior: Prior, seed: int) -> None:
        self._design_space = design_space
        self._prior = prior
        self._seed = seed
        self._trials: list[Trial] = []
        self._observations = History(design_space)
        self._tried = np.zeros((len(design_space.runs), len(design_space.compressions)), dtype=bool)
        self._unable = np.zeros(len(design_space.runs), dtype=bool)
        """Runs that could not be trained on this machine, as it was then."""
        self._cost_model = CostModel(design_space)
        self._spent = 0.0
        self._reached: list[tuple[float, float]] = []
        """Quality and logarithm of cost of each trial that has them."""
        self._fitted_at = -1
        self._observed = 0
        self._pending: list[tuple[int, int]] = []
        """Run and compression of the trials under way that the surrogate knows of."""
        self._candidates: Candidates
        self._transform = OutcomeTransform.of([], design_space.baseline)

    def update(self, trials: Iterable[Trial]) -> None:
        """Take finished trials in."""
        for trial in trials:
            self._trials.append(trial)
            self._observations.add(trial)
            self._tried[trial.run, trial.compression] = True
            if trial.quality is None:
                self._unable[trial.run] |= trial.cause is FailureCause.MACHINE
            else:
                self._spent += self._cost_model.update(trial)
                self._reached.append((trial.quality, self._log_cost(trial.run, trial.compression)))

    @property
    def average_rate(self) -> float:
        """Hypervolume gained per second of all work so far, in the unit of ``Proposal.rate``."""
        if not self._spent:
            return 0.0
        stairs = self._staircase(self._reached)
        return stairs.area_above(self._transform.lowest) / self._spent

    def predict(self, run: int, compression: int) -> tuple[float, float, float]:
        """Quality that is expected of a configuration, in the middle of its 95 % interval."""
        with one_thread():
            self._refresh()
            mean, variance = self._surrogate.predict(
                self._observations.features([Trial(run, compression, None)])
            )
        values = mean + TWO_SIDED_95 * np.sqrt(variance) * np.array([-1.0, 0.0, 1.0])
        low, expected, high = self._transform.quality(values).tolist()
        return low, expected, high

    def seconds(self, run: int, compression: int) -> float:
        """Seconds that a trial of a configuration would take now."""
        evaluating = self._cost_model.evaluation_seconds(np.array([run]))[0]
        own = evaluating[compression if len(evaluating) > 1 else 0]
        return float(self._cost_model.training_seconds()[run] + own)

    def suggest(
        self, running: list[tuple[int, int]], *, in_memory: int | None = None
    ) -> Proposal | None:
        """The next trial: the best of what is on offer.

        Args:
            running: Run and compression of each trial that is under way.
            in_memory: A run whose trained model the asking worker will have.

        Returns:
            None where everything left would train what is being trained now, or nothing is left.
        """
        return self.proposals(running, in_memory=in_memory).best()

    def proposals(
        self, running: list[tuple[int, int]], *, in_memory: int | None = None
    ) -> Proposals:
        """What could be done next, and what it would gain and cost; arguments as ``suggest``."""
        with one_thread():
            self._refresh()
            proposals = self._proposals(running, in_memory)
            for attempt in range(1, PARTS):
                if self._candidates.is_whole or proposals.best() is not None:
                    break
                self._refit(len(self._trials), attempt)
                proposals = self._proposals(running, in_memory)
        return proposals

    def _proposals(self, running: list[tuple[int, int]], in_memory: int | None) -> Proposals:
        self._watch(running)
        transform = self._transform
        posterior, values = self._surrogate.with_pending(transform.noise_at)
        quality = transform.quality(posterior.samples(self._normals))
        expected = zip(transform.quality(values).tolist(), self._pending, strict=True)
        stairs = self._staircase(
            [
                *self._reached,
                *((each, self._log_cost(*place)) for each, place in expected),
            ]
        )
        trained = self._cost_model.is_trained.copy()
        if in_memory is not None:
            trained[in_memory] = True
        return self._priced(quality, stairs, self._free(running, trained), trained)

    def _priced(
        self, quality: Floats, stairs: Staircase, free: Booleans, trained: Booleans
    ) -> Proposals:
        runs = self._candidates.runs
        training = np.where(trained, 0.0, self._cost_model.training_seconds())[runs]
        evaluating = self._evaluating()
        first = stairs.first_step(np.nan_to_num(self._candidates.log_costs, nan=np.inf))
        free = free & (first < len(stairs.level))
        gain = stairs.improvement(quality, np.minimum(first, len(stairs.level))).mean(0)
        gain = np.where(free, gain, -np.inf)
        seconds = training[:, None] + evaluating
        untrained = np.flatnonzero((training > 0.0) & free.any(1))
        if len(untrained):
            offered = np.where(free[untrained], quality[:, untrained], -np.inf)
            together, members = stairs.joint_improvement(offered, first[untrained])
            leader = gain[untrained].argmax(1)
            gain[untrained] = -np.inf
            gain[untrained, leader] = together
            tries = np.maximum(TRIES * members, 1.0)
            seconds[untrained, leader] = training[untrained] + tries * evaluating[untrained, leader]
        return Proposals(
            runs, self._candidates.compressions, gain, seconds, quality, trained=trained[runs]
        )

    def _evaluating(self) -> Floats:
        """Seconds of each candidate once its model is trained, ``(r, c)``."""
        seconds = self._cost_model.evaluation_seconds(self._candidates.runs)
        if seconds.shape[1] == 1:
            return np.repeat(seconds, self._candidates.log_costs.shape[1], axis=1)
        chosen: Floats = seconds[:, self._candidates.compressions]
        return chosen

    def _refresh(self) -> None:
        """Make the surrogate anew when that is due, else take the new trials in."""
        due = _fit_size(len(self._trials))
        if due != self._fitted_at:
            self._fitted_at = due
            self._refit(due)
        self._observe(self._observations.since(self._observed))
        self._observed = len(self._trials)

    def _observe(self, observed: list[Trial]) -> None:
        values, noise = self._transform.values(observed), self._transform.noise(observed)
        self._surrogate.observe(self._observations.features(observed), values, noise)

    def _refit(self, count: int, attempt: int = 0) -> None:
        # From the first trials alone, so that a designer made again from the record agrees.
        history = self._trials[:count]
        self._transform = OutcomeTransform.of(history, self._design_space.baseline)
        kept = self._observations.informative(count)
        hyperparameters = sample_hyperparameters(
            self._observations.features(kept),
            self._transform.values(kept),
            self._transform.noise(kept),
            self._prior,
            count=PROCESSES,
            rng=np.random.default_rng([self._seed, count]),
        )
        tried = np.zeros_like(self._tried)
        tried[[t.run for t in history], [t.compression for t in history]] = True
        rng = np.random.default_rng([self._seed, count, attempt])
        self._candidates = choose_candidates(self._design_space, history, tried, rng)
        runs, columns = self._candidates.runs, self._candidates.compressions
        blocks = np.repeat(runs, len(columns))
        everything = Features(
            self._design_space.runs[blocks],
            np.tile(self._design_space.compressions[columns], (len(runs), 1)),
            blocks,
        )
        self._surrogate = GaussianProcessMixture(
            everything, len(columns), self._prior, hyperparameters
        )
        self._observe(kept)
        self._observed = count
        self._pending = []
        self._normals = _normals(len(columns), self._seed)

    def _watch(self, running: list[tuple[int, int]]) -> None:
        """Tell the surrogate what is under way now."""
        now, before = dict.fromkeys(running), set(self._pending)
        kept = [index for index, place in enumerate(self._pending) if place in now]
        begun = [place for place in now if place not in before]
        if begun or len(kept) < len(self._pending):
            features = self._observations.features(Trial(*place, None) for place in begun)
            self._surrogate.set_pending(features, kept)
            self._pending = [*(self._pending[index] for index in kept), *begun]

    def _log_cost(self, run: int, compression: int) -> float:
        return float(self._design_space.log_costs(np.array([run]))[0, compression])

    def _staircase(self, points: list[tuple[float, float]]) -> Staircase:
        quality, log_cost = np.array(points, dtype=np.float64).reshape(-1, 2).T
        known = np.isfinite(log_cost)
        return Staircase.of(
            quality[known],
            log_cost[known],
            floor=self._transform.lowest,
            limits=self._design_space.limits,
        )

    def _free(self, running: list[tuple[int, int]], available: Booleans) -> Booleans:
        runs, compressions = self._candidates.runs, self._candidates.compressions
        free = ~self._tried[np.ix_(runs, compressions)]
        architecture = self._design_space.architecture
        training = [run for run, _ in running if not self._cost_model.is_trained[run]]
        # Another run of the same architecture would wait for the prefix that they share.
        busy = np.isin(architecture[runs], architecture[training])
        free[(busy | self._unable[runs]) & ~available[runs]] = False
        for run, compression in running:
            free[np.ix_(runs == run, compressions == compression)] = False
        return free


def _fit_size(count: int) -> int:
    """The largest size of history, of those at which hyperparameters are fitted, up to a count."""
    size = 0
    following = FIRST_FIT
    while following <= count:
        grown = max(following + 1, int(following * REFIT_GROWTH))
        size, following = following, min(grown, following + LONGEST_WAIT)
    return size


def _normals(width: int, seed: int) -> Floats:
    """Standard normal numbers that fill the space evenly, ``(SAMPLES, width)``."""
    # Here, because scipy.stats takes long to import, and answers do without.
    from scipy.stats import qmc

    uniform = qmc.Sobol(width, seed=seed).random(SAMPLES)
    normals: Floats = ndtri(np.clip(uniform, 1e-6, 1.0 - 1e-6))
    return normals
