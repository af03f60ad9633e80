"""The surrogate of one score: Gaussian processes of its qualities over all candidates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
from scipy.special import ndtri

from search.arrays import Floats
from search.samplers.frontier.design_space import Candidates, DesignSpace
from search.samplers.frontier.history import (
    TWO_SIDED_95,
    History,
    Trial,
    errors,
    qualities,
)
from search.samplers.gp.gaussian_process import GaussianProcessMixture
from search.samplers.gp.hyperparameters import sample_hyperparameters
from search.samplers.gp.kernel import Features, Prior
from search.samplers.gp.outcome_transform import OutcomeTransform

PROCESSES = 4
"""Samples of the hyperparameters, each of which gives one Gaussian process."""
SAMPLES = 32
"""Samples of each process; a power of two, as a Sobol sequence needs."""


class Surrogate:
    """What finished trials say of one score of all candidates.

    Args:
        baseline: Quality of guessing, where it is known.
        seed: Of the samples and of the hyperparameters.
        place: Which of several scores it is.
    """

    transform: OutcomeTransform
    _process: GaussianProcessMixture

    def __init__(
        self,
        space: DesignSpace,
        prior: Prior,
        baseline: float | None,
        *,
        seed: int,
        place: int = 0,
    ) -> None:
        self._space = space
        self._prior = prior
        self._baseline = baseline
        self._seed = seed
        self._place = place
        self._history = History(space)
        self._earlier: list[Trial] = []
        """Complete trials of earlier searches."""
        self._trials: list[Trial] = []
        self._observed = 0
        self._pending: list[tuple[int, int]] = []
        """The running candidates that the Gaussian process has as pending."""
        self._compressions = np.zeros((0, 1))

    def learn(self, trial: Trial) -> None:
        """Learn from a trial of an earlier search, before the first of this one."""
        trial = trial.of_score(self._place)
        self._history.add_earlier(trial)
        if trial.quality is not None:
            self._earlier.append(trial)

    def update(self, trial: Trial) -> None:
        """Learn from a finished trial, when it is fitted or refreshed."""
        trial = trial.of_score(self._place)
        self._trials.append(trial)
        self._history.add(trial)

    def fit(self, count: int, best: list[tuple[int, int]], candidates: Candidates) -> None:
        """Fit the Gaussian processes to the first ``count`` trials, over some candidates.

        Args:
            best: Candidates of complete trials, from the frontier on.
        """
        # Of those trials alone, so that a designer that is made again from the study agrees.
        complete = [trial for trial in self._trials[:count] if trial.quality is not None]
        known = [*self._earlier, *complete]
        self.transform = OutcomeTransform.fit(qualities(known), errors(known), self._baseline)
        observed = self._history.until(count, best)
        values = self.transform.values(qualities(observed))
        hyperparameters = sample_hyperparameters(
            self._features(observed),
            values,
            self.transform.noise(values, errors(observed)),
            self._prior,
            count=PROCESSES,
            rng=np.random.default_rng([self._seed, count, self._place][: 2 + (self._place > 0)]),
        )
        runs, columns = candidates.runs, candidates.compressions
        features = self._history.features(product(runs.tolist(), columns.tolist()))
        self._process = GaussianProcessMixture(features, len(columns), self._prior, hyperparameters)
        self._observe(observed)
        self._observed = count
        self._pending = []
        self._compressions = self._space.compressions[columns]
        self._normals = _normals(len(columns), self._seed + self._place)

    def refresh(self) -> None:
        """Learn from the trials since the last time."""
        self._observe(self._history.since(self._observed))
        self._observed = len(self._trials)

    def samples(self, running: Iterable[tuple[int, int]]) -> tuple[Floats, Floats]:
        """Samples of the quality of each candidate, ``(samples, r, c)``, and the expected ones of
        running candidates, in the order of ``pending``."""
        self._set_pending(running)
        posterior, values = self._process.with_pending(self.transform.noise)
        quality = self.transform.quality(posterior.samples(self._normals))
        return self._at_most_dense(quality), self.transform.quality(values)

    @property
    def pending(self) -> list[tuple[int, int]]:
        """The running candidates of the last samples."""
        return self._pending

    def expected(self, candidates: Iterable[tuple[int, int]]) -> Floats:
        """Expected quality of some candidates, given all trials."""
        mean, _ = self._process.predict(self._history.features(candidates))
        return self.transform.quality(mean)

    def interval(self, run: int, compression: int) -> tuple[float, float, float]:
        """Expected quality of a candidate, between the ends of its 95 % interval."""
        mean, variance = self._process.predict(self._history.features([(run, compression)]))
        values = mean + TWO_SIDED_95 * np.sqrt(variance) * np.array([-1.0, 0.0, 1.0])
        low, expected, high = self.transform.quality(values).tolist()
        return low, expected, high

    def deviation(self, complete: Sequence[Trial]) -> Floats:
        """Standard deviation of the evaluation noise of the qualities of complete trials."""
        values = self.transform.values(qualities(complete))
        return np.sqrt(self.transform.noise(values, errors(complete))) * self.transform.range

    def _at_most_dense(self, quality: Floats) -> Floats:
        """Samples of the quality, none of which exceeds that of the same model before compression.

        Of a model that has learnt nothing, compressions would seem to be worth a trial each.
        """
        dense = np.flatnonzero(~self._compressions.any(1))
        if len(dense) == 0:
            return quality
        return np.minimum(quality, quality[:, :, dense[:1]])

    def _observe(self, trials: list[Trial]) -> None:
        values = self.transform.values(qualities(trials))
        noise = self.transform.noise(values, errors(trials))
        self._process.observe(self._features(trials), values, noise)

    def _features(self, trials: list[Trial]) -> Features:
        return self._history.features(trial.candidate for trial in trials)

    def _set_pending(self, running: Iterable[tuple[int, int]]) -> None:
        now, before = dict.fromkeys(running), set(self._pending)
        kept = [index for index, candidate in enumerate(self._pending) if candidate in now]
        new = [candidate for candidate in now if candidate not in before]
        if new or len(kept) < len(self._pending):
            self._process.set_pending(self._history.features(new), kept)
            self._pending = [*(self._pending[index] for index in kept), *new]


def _normals(width: int, seed: int) -> Floats:
    """Quasi-random standard normal numbers, ``(SAMPLES, width)``."""
    # Imported here: scipy.stats takes long to import, and predictions do without it.
    from scipy.stats import qmc

    uniform = qmc.Sobol(width, seed=seed).random(SAMPLES)
    normals: Floats = ndtri(np.clip(uniform, 1e-6, 1.0 - 1e-6))
    return normals
