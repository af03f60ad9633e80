"""The cost model: seconds of compute that a candidate would take now, given what the store has.

Seconds of a step are those measured on runs of the same architecture, and before the search where
budgets are in seconds. Before there are any, a regression over the other architectures predicts
them from FLOPs and depth, times the devices that share them. The designer prices all seconds by the
devices that a trial occupies.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from search.arrays import Booleans, Floats, Integers
from search.samplers.frontier.design_space import DesignSpace
from search.samplers.frontier.history import Trial

PRIOR_SECONDS_A_STEP = 0.02
PRIOR_SECONDS_TO_EVALUATE = 0.3
PRIOR_COOLDOWN_FRACTION = 0.25
"""Of the stable path, before any run has a measured cooldown."""


class Seconds(Protocol):
    """What the designer asks of a cost model."""

    @property
    def is_trained(self) -> Booleans:
        """Runs that have a trained model, ``(runs,)``."""

    def update(self, trial: Trial) -> float:
        """Learn from a complete trial; returns seconds of the work that was new with it."""

    def training_seconds(self) -> Floats:
        """Seconds until each run has its trained model, ``(runs,)``."""

    def evaluation_seconds(self, runs: Integers, compressions: Integers) -> Floats:
        """Further seconds of compressions of some runs, each with each."""


class CostModel:
    """Seconds of training and evaluation, learnt from finished trials."""

    def __init__(self, space: DesignSpace) -> None:
        self._space = space
        self._stored = _Progress(space)
        if space.is_trained is not None:
            self._stored.is_trained |= space.is_trained
        if space.has_stable_path is not None:
            for run in np.flatnonzero(space.has_stable_path):
                self._stored.add_stable_path(int(run))
        # Without what an earlier search left in the store: the average gain per second of this
        # search is over its own work.
        self._own = _Progress(space)
        known = np.zeros((int(space.architecture.max()) + 1, 2))
        known[space.architecture, 0] = np.log(space.step_flops)
        known[space.architecture, 1] = np.log(space.depth)
        self._step = _LogSecondsRegression(known, np.log(PRIOR_SECONDS_A_STEP))
        self._evaluate = _LogSecondsRegression(known, np.log(PRIOR_SECONDS_TO_EVALUATE))
        self._cooldowns: list[tuple[float, float]] = []
        if space.step_seconds is not None:
            for architecture, run in enumerate(np.unique(space.architecture, return_index=True)[1]):
                if np.isfinite(space.step_seconds[run]):
                    shared = space.step_seconds[run] * space.occupied[run]
                    self._step.add(architecture, np.log(shared))

    @property
    def is_trained(self) -> Booleans:
        """Runs that have a trained model, ``(runs,)``."""
        return self._stored.is_trained

    def update(self, trial: Trial) -> float:
        """Learn from a complete trial.

        Returns:
            Seconds of the work that this search had not done before it. Work that an earlier
            search left in the store counts as done by the trial.
        """
        run = trial.run
        steps = self._space.steps[run]
        missing = steps - self._own.start[run]
        was_trained = self._own.is_trained[run]
        for progress in (self._stored, self._own):
            progress.add_trained(run)
        self.learn(trial)
        took = trial.seconds
        if took is None:
            return 0.0
        training = 0.0 if was_trained else missing * took.stable / steps + took.cooldown
        return float(training + took.evaluate + took.recovery)

    def learn(self, trial: Trial) -> None:
        """Learn from the seconds of a trial alone, which may be one of another search."""
        took = trial.seconds
        if took is None:
            return
        architecture = int(self._space.architecture[trial.run])
        steps = self._space.steps[trial.run]
        a_step = took.stable / steps
        if a_step > 0.0:
            self._step.add(architecture, np.log(a_step * self._space.occupied[trial.run]))
            self._cooldowns.append((steps, took.cooldown / a_step))
        if took.evaluate > 0.0:
            self._evaluate.add(architecture, np.log(took.evaluate))

    def training_seconds(self) -> Floats:
        """Seconds until each run has its trained model, ``(runs,)``; zero where it has one."""
        space = self._space
        missing = space.steps - self._stored.start
        fixed, by_step = self._cooldown()
        a_step = np.exp(self._step.predict())[space.architecture] / space.occupied
        seconds: Floats = a_step * (missing + fixed + by_step * space.steps)
        seconds[self.is_trained] = 0.0
        return seconds

    def evaluation_seconds(self, runs: Integers, compressions: Integers) -> Floats:
        """Seconds of compressions of some runs, with recovery and measurement, each with each."""
        architecture = self._space.architecture[runs]
        measuring = np.exp(self._evaluate.predict())[architecture][:, None]
        if self._space.recovery_steps is None:
            return np.repeat(measuring, len(compressions), axis=1)
        a_step = (np.exp(self._step.predict())[architecture] / self._space.occupied[runs])[:, None]
        return measuring + a_step * self._space.recovery_steps(runs)[:, compressions]

    def _cooldown(self) -> tuple[float, float]:
        """Steps of the cooldown: a constant, and a fraction of the budget.

        Non-negative least squares, with the prior as one more observation.
        """
        if not self._cooldowns:
            return 0.0, PRIOR_COOLDOWN_FRACTION
        from scipy.optimize import nnls

        steps, cooldowns = np.array(self._cooldowns).T
        weight = 1.0 / steps.mean()
        rows = np.concatenate([np.stack([np.ones_like(steps), steps], 1) * weight, [[0.0, 0.1]]])
        target = np.concatenate([cooldowns * weight, [0.1 * PRIOR_COOLDOWN_FRACTION]])
        (fixed, by_step), _ = nnls(rows, target)
        return float(fixed), float(by_step)


class _Progress:
    """Training that is done: the trained models, and how far each stable path goes."""

    def __init__(self, space: DesignSpace) -> None:
        self._space = space
        self.is_trained = np.zeros(len(space.steps), dtype=bool)
        self.start = np.zeros(len(space.steps))
        """Steps of each run that are on a stored stable path, ``(runs,)``."""

    def add_stable_path(self, run: int, *, has_shorter: bool = False) -> None:
        """Add the stable path of a run, where longer runs on it continue.

        Shorter ones, too, if it has checkpoints at their budgets.
        """
        paths, steps = self._space.paths, self._space.steps
        helped = (paths == paths[run]) & (has_shorter | (steps >= steps[run]))
        self.start[helped] = np.maximum(self.start[helped], np.minimum(steps[helped], steps[run]))

    def add_trained(self, run: int) -> None:
        self.is_trained[run] = True
        self.add_stable_path(run, has_shorter=True)


class _LogSecondsRegression:
    """Log device-seconds by architecture: linear in the logarithms of FLOPs and depth.

    Small models spend their time on kernel calls rather than FLOPs, and calls grow with depth. An
    architecture that was measured has its own mean. Bayesian linear regression with known noise
    (Rasmussen & Williams 2006, section 2.1).
    """

    SLOPES = (0.6, 0.3)
    DEVIATIONS = (3.0, 0.3, 0.3)
    """Prior standard deviations of the level and of the slopes."""
    OWN_DEVIATION = 0.2

    def __init__(self, known: Floats, level: float) -> None:
        centred = known - known.mean(0)
        self._prior: Floats = level + centred @ np.array(self.SLOPES)
        self._basis = np.concatenate([np.ones((len(known), 1)), centred], 1)
        self._sums = np.zeros(len(known))
        self._counts = np.zeros(len(known))

    def add(self, architecture: int, value: float) -> None:
        self._sums[architecture] += value
        self._counts[architecture] += 1

    def predict(self) -> Floats:
        known = self._counts > 0
        if not known.any():
            return self._prior
        own = self._sums[known] / self._counts[known]
        basis = self._basis[known]
        precision = np.diag(np.array(self.DEVIATIONS) ** -2.0)
        precision += basis.T @ basis / self.OWN_DEVIATION**2
        change = basis.T @ (own - self._prior[known]) / self.OWN_DEVIATION**2
        predicted: Floats = self._prior + self._basis @ np.linalg.solve(precision, change)
        predicted[known] = own
        return predicted
