"""What a candidate would really cost now, in seconds: only what the store does not have.

Seconds of a step are those that an architecture's own runs took; before it has any, they follow
from its FLOPs by a regression over the architectures that have run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from search.arrays import Booleans, Floats, Integers
from search.samplers.frontier.design_space import DesignSpace, Trial

PRIOR_SECONDS_A_STEP = 0.02
PRIOR_SECONDS_TO_EVALUATE = 0.3
PRIOR_COOLDOWN_SHARE = 0.25
"""Of the stable path, before any run has shown how long the cooldown takes."""


@dataclass
class CostModel:
    """Seconds by training run, learnt from trials.

    Args:
        design_space: The training runs.
        is_trained: Which runs have their trained model.
    """

    design_space: DesignSpace
    is_trained: Booleans = field(init=False)

    def __post_init__(self) -> None:
        count = int(self.design_space.architecture.max()) + 1
        nothing = np.zeros(len(self.design_space.architecture))
        self.is_trained = nothing > 0.0
        self._start = nothing.copy()
        """Steps of each run that its stable path has, whoever trained them."""
        if self.design_space.is_trained is not None:
            self.is_trained |= self.design_space.is_trained
        for run in (
            []
            if self.design_space.has_stable_path is None
            else np.flatnonzero(self.design_space.has_stable_path)
        ):
            self._begin(int(run), self._start)
        # What this search has paid for, of which its average gain per second is made.
        self._paid = np.zeros_like(self.is_trained)
        self._paid_start = nothing.copy()
        self._known = np.zeros((count, 2))
        self._known[self.design_space.architecture, 0] = np.log(self.design_space.step_flops)
        self._known[self.design_space.architecture, 1] = np.log(self.design_space.depth)
        self._step = _SecondsRegression(self._known, np.log(PRIOR_SECONDS_A_STEP))
        self._evaluate = _SecondsRegression(self._known, np.log(PRIOR_SECONDS_TO_EVALUATE))
        self._cooldowns: list[tuple[float, float]] = []

    def update(self, trial: Trial) -> float:
        """Take a finished trial in: what it reached is not paid again, and what it took is known.

        Returns:
            Seconds of the work that this search had not done before it, whatever an earlier one
            left in the store.
        """
        run = trial.run
        architecture, steps = int(self.design_space.architecture[run]), self.design_space.steps[run]
        missing = steps - self._paid_start[run]
        was_paid = self._paid[run]
        self.is_trained[run] = self._paid[run] = True
        for start in (self._start, self._paid_start):
            self._begin(run, start)
            # A longer path keeps the points where shorter budgets leave it.
            shorter = (self.design_space.architecture == architecture) & (
                self.design_space.steps <= steps
            )
            start[shorter] = self.design_space.steps[shorter]
        took = trial.seconds
        if took is None:
            return 0.0
        a_step = took.stable / steps
        if a_step > 0.0:
            self._step.learn(architecture, np.log(a_step))
            self._cooldowns.append((steps, took.cooldown / a_step))
        if took.evaluate > 0.0:
            self._evaluate.learn(architecture, np.log(took.evaluate))
        training = 0.0 if was_paid else missing * a_step + took.cooldown
        return float(training + took.evaluate + took.recovery)

    def _begin(self, run: int, start: Floats) -> None:
        """Note that the stable path of a run is there, for it and for longer ones."""
        steps = self.design_space.steps
        longer = (self.design_space.architecture == self.design_space.architecture[run]) & (
            steps >= steps[run]
        )
        start[longer] = np.maximum(start[longer], steps[run])

    def training_seconds(self) -> Floats:
        """Seconds until each run has its trained model, ``(runs,)``; zero where it has."""
        design_space = self.design_space
        missing = design_space.steps - self._start
        fixed, by_step = self._cooldown()
        a_step = np.exp(self._step.predict())[design_space.architecture]
        seconds: Floats = a_step * (missing + fixed + by_step * design_space.steps)
        seconds[self.is_trained] = 0.0
        return seconds

    def evaluation_seconds(self, runs: Integers) -> Floats:
        """Seconds of each compression of some runs, its recovery, and its measurement.

        Returns:
            ``(len(runs), compressions)``; one column where no compression has a recovery.
        """
        architecture = self.design_space.architecture[runs]
        measuring = np.exp(self._evaluate.predict())[architecture][:, None]
        if self.design_space.recovery_steps is None:
            return measuring
        a_step = np.exp(self._step.predict())[architecture][:, None]
        seconds: Floats = measuring + a_step * self.design_space.recovery_steps(runs)
        return seconds

    def _cooldown(self) -> tuple[float, float]:
        """Cooldown in steps: a fixed number, and a share of the budget. Least squares, not
        negative, pulled to the prior as if by one run."""
        if not self._cooldowns:
            return 0.0, PRIOR_COOLDOWN_SHARE
        from scipy.optimize import nnls

        steps, cooldowns = np.array(self._cooldowns).T
        weight = 1.0 / steps.mean()
        rows = np.concatenate([np.stack([np.ones_like(steps), steps], 1) * weight, [[0.0, 0.1]]])
        target = np.concatenate([cooldowns * weight, [0.1 * PRIOR_COOLDOWN_SHARE]])
        (fixed, by_step), _ = nnls(rows, target)
        return float(fixed), float(by_step)


class _SecondsRegression:
    """Log seconds by architecture: a plane over the logarithms of FLOPs and depth, and each
    architecture's own deviation.

    Small models spend their time on calls rather than FLOPs, and calls grow with depth. Bayesian
    linear regression with known noise (Rasmussen & Williams 2006, section 2.1).
    """

    SLOPES = (0.6, 0.3)
    DEVIATIONS = (3.0, 0.3, 0.3)
    """Prior deviations of the level and of the slopes."""
    OWN_DEVIATION = 0.2

    def __init__(self, known: Floats, level: float) -> None:
        centred = known - known.mean(0)
        self._prior: Floats = level + centred @ np.array(self.SLOPES)
        self._basis = np.concatenate([np.ones((len(known), 1)), centred], 1)
        self._sums = np.zeros(len(known))
        self._counts = np.zeros(len(known))

    def learn(self, architecture: int, value: float) -> None:
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
