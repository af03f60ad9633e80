"""The surrogate: Gaussian processes that know how training and compression shape quality.

What training gives and what compression takes away add up:

    quality = trained(architecture, budget) + lost(compression, architecture, budget)

It is measured from that of guessing in units of the range so far (``transform.py``).

``trained`` is a linear trend in the logarithms of depth, width and budget (learning curves and
scaling laws are close to lines there) plus a smooth deviation, plus a deviation of each training
run, because two seeds differ. ``lost`` is zero without compression, falls with a linear trend in
bases of quantisation error and sparsity, less for wider models, and has a smooth deviation that
shares its shape between models. The trends have informed priors: more training helps, and heavier
compression hurts. How far the deviations go, and over what distance, is drawn from what the trials
allow, and the surrogate is the mixture of the processes with those hyperparameters.

Rasmussen & Williams 2006, *Gaussian Processes for Machine Learning*, section 2.2 (posterior).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from search.arrays import Floats, Integers, cholesky, solve_lower
from search.samplers.gp.hyperparameters import JITTER
from search.samplers.gp.kernel import Features, Kernel, Prepared, Prior


@dataclass(frozen=True)
class Posterior:
    """A mixture of normal distributions over candidates in blocks that share a training run.

    Args:
        means: Of each process, ``(processes, blocks, width)``.
        covariances: Of each process within its blocks, ``(blocks, width, width)``.
    """

    means: Floats
    covariances: list[Floats]

    @property
    def mean(self) -> Floats:
        """Expected values, ``(blocks, width)``."""
        average: Floats = self.means.mean(0)
        return average

    @property
    def variance(self) -> Floats:
        """Variances, ``(blocks, width)``: within the processes, and between their means."""
        within = [np.einsum("bii->bi", covariance) for covariance in self.covariances]
        total: Floats = np.mean(within, axis=0) + self.means.var(0)
        return total

    def samples(self, normals: Floats) -> Floats:
        """Joint samples within each block, without noise.

        Args:
            normals: Standard normal numbers, ``(samples, width)``, the same for all blocks.

        Returns:
            Transformed qualities, ``(processes * samples, blocks, width)``.
        """
        each = zip(self.means, self.covariances, strict=True)
        return np.concatenate([_samples(*normal, normals) for normal in each])


class GaussianProcessMixture:
    """A mixture of Gaussian processes over the candidates of a space.

    Args:
        candidates: Configurations in blocks that share a training run, ``(blocks * width,)``.
        width: Configurations in a block.
        prior: What is believed before any trial.
        hyperparameters: From ``sample_hyperparameters``; the prior's without.
    """

    def __init__(
        self,
        candidates: Features,
        width: int,
        prior: Prior,
        hyperparameters: list[Floats] | None = None,
    ) -> None:
        self._kernel = Kernel(prior)
        everything = self._kernel.prepare(candidates)
        self._processes = [
            _Process(self._kernel, everything, width, theta)
            for theta in hyperparameters or [self._kernel.prior_means]
        ]

    @property
    def posterior(self) -> Posterior:
        """What is known of the candidates."""
        means = np.array([process.mean for process in self._processes])
        return Posterior(means, [process.covariance for process in self._processes])

    def observe(self, features: Features, values: Floats, noise: Floats) -> None:
        """Condition on trials.

        Args:
            features: What was tried, ``(n,)`` configurations.
            values: Transformed qualities, ``(n,)``.
            noise: Variances of the noise, ``(n,)``, as for ``sample_hyperparameters``.
        """
        if len(features):
            new = self._kernel.prepare(features)
            for process in self._processes:
                process.condition(new, values, noise)

    def set_pending(self, features: Features, kept: Sequence[int] = ()) -> None:
        """Say which trials are under way.

        Of those that stay, what they tell of the candidates is kept up as trials are observed, so
        that with hundreds of them a change of a few costs little.

        Args:
            features: What has begun, ``(n,)`` configurations.
            kept: Which of those so far stay, by index; the new ones follow them.
        """
        new = self._kernel.prepare(features)
        for process in self._processes:
            process.set_pending(new, kept)

    def with_pending(self, noise_at: Callable[[Floats], Floats]) -> tuple[Posterior, Floats]:
        """What would be known of the candidates if the trials under way came out as expected.

        Args:
            noise_at: Variances of the noise of trials with some values.

        Returns:
            What would be known, and the values that are expected of the trials, ``(n,)``.
        """
        now = self.posterior
        expected: Floats = np.mean([each.pending_mean for each in self._processes], axis=0)
        if not len(expected):
            return now, expected
        noise = noise_at(expected)
        return Posterior(
            now.means, [each.with_pending(noise) for each in self._processes]
        ), expected

    def predict(self, features: Features) -> tuple[Floats, Floats]:
        """Expected values and variances of any configurations, each ``(n,)``, without noise."""
        new = self._kernel.prepare(features)
        found = [process.predict(new) for process in self._processes]
        means = np.array([mean for mean, _ in found])
        variances = np.array([variance for _, variance in found])
        return means.mean(0), variances.mean(0) + means.var(0)


@dataclass
class _Trials:
    """Some trials, given what was observed.

    Args:
        where: Their configurations, ``(n,)``.
        mean: Expected values, ``(n,)``.
        part: Their rows of the Cholesky factor, ``(n, observed)``.
        own: Covariances of each with each, ``(n, n)``.
        across: Covariances with the candidates, ``(n, candidates)``.
    """

    where: Prepared
    mean: Floats
    part: Floats
    own: Floats
    across: Floats

    def take(self, rows: Integers) -> _Trials:
        """Some of them, by index."""
        return _Trials(
            self.where.take(rows),
            self.mean[rows],
            self.part[rows],
            self.own[np.ix_(rows, rows)],
            self.across[rows],
        )


class _Process:
    """One Gaussian process, conditioned a few trials at a time."""

    def __init__(self, kernel: Kernel, candidates: Prepared, width: int, theta: Floats) -> None:
        self._kernel = kernel
        self._theta = theta
        self._candidates = candidates
        self._width = width
        self.mean = candidates.mean.reshape(-1, width)
        self.covariance = kernel.block_covariances(candidates, width, theta)
        nothing = candidates.take(np.zeros(0, dtype=np.int64))
        self._observed = nothing
        self._factor = np.zeros((0, 0))
        # In the parts in which trials came: one array would be copied whole at each of them.
        self._whitened: tuple[Floats, ...] = ()
        self._residuals = np.zeros(0)
        self._pending = self._given(nothing)

    @property
    def pending_mean(self) -> Floats:
        """Expected values of the trials under way, ``(n,)``."""
        return self._pending.mean

    def predict(self, new: Prepared) -> tuple[Floats, Floats]:
        """Expected values of configurations, and their variances."""
        expected, part = self._expect(new)
        own = np.diag(self._kernel.covariance(new, new, self._theta))
        return expected, np.maximum(own - (part**2).sum(1), 0.0)

    def condition(self, new: Prepared, values: Floats, noise: Floats) -> None:
        """Take trials in."""
        known, count = len(self._factor), len(new.run)
        trials = self._given(new)
        corner = self._corner(trials, noise)
        added = solve_lower(corner, trials.across)
        residuals = solve_lower(corner, values - trials.mean)
        self._follow(trials, corner, added, residuals)
        lower = np.zeros((known + count, known + count))
        lower[:known, :known] = self._factor
        lower[known:, :known] = trials.part
        lower[known:, known:] = corner
        self._factor = lower
        self._whitened = (*self._whitened, added)
        self._residuals = np.concatenate([self._residuals, residuals])
        self._observed = self._observed.followed_by(new)
        self.covariance = self._less(added)
        self.mean = self.mean + (residuals @ added).reshape(self.mean.shape)

    def set_pending(self, new: Prepared, kept: Sequence[int]) -> None:
        """Keep some of the trials under way, and add others."""
        stay = self._pending.take(np.array(kept, dtype=np.int64))
        begun = self._given(new)
        cross = self._between(begun.where, begun.part, stay.where, stay.part)
        self._pending = _Trials(
            stay.where.followed_by(begun.where),
            np.concatenate([stay.mean, begun.mean]),
            np.vstack([stay.part, begun.part]),
            np.block([[stay.own, cross.T], [cross, begun.own]]),
            np.vstack([stay.across, begun.across]),
        )

    def with_pending(self, noise: Floats) -> Floats:
        """Covariances of the candidates if the trials under way came out as expected."""
        corner = self._corner(self._pending, noise)
        return self._less(solve_lower(corner, self._pending.across))

    def _given(self, new: Prepared) -> _Trials:
        """Trials, given what was observed."""
        expected, part = self._expect(new)
        across = self._kernel.covariance(new, self._candidates, self._theta)
        first = 0
        for rows in self._whitened:
            across -= part[:, first : first + len(rows)] @ rows
            first += len(rows)
        return _Trials(new, expected, part, self._between(new, part, new, part), across)

    def _expect(self, new: Prepared) -> tuple[Floats, Floats]:
        """Expected values of trials, and their rows of the Cholesky factor."""
        part = np.zeros((len(new.run), 0))
        if len(self._factor):
            across = self._kernel.covariance(self._observed, new, self._theta)
            part = solve_lower(self._factor, across).T
        expected: Floats = new.mean + part @ self._residuals
        return expected, part

    def _between(self, a: Prepared, part_a: Floats, b: Prepared, part_b: Floats) -> Floats:
        """Covariances of trials, given what was observed, ``(len(a), len(b))``."""
        return self._kernel.covariance(a, b, self._theta) - part_a @ part_b.T

    def _corner(self, trials: _Trials, noise: Floats) -> Floats:
        """Cholesky factor of the covariances of what trials would show."""
        return cholesky(trials.own + np.diag(self._kernel.noise(noise, self._theta) + JITTER))

    def _follow(self, trials: _Trials, corner: Floats, added: Floats, residuals: Floats) -> None:
        """Let what is known of the trials under way follow what others showed."""
        pending = self._pending
        told = solve_lower(
            corner, self._between(trials.where, trials.part, pending.where, pending.part)
        )
        pending.mean = pending.mean + residuals @ told
        pending.part = np.hstack([pending.part, told.T])
        pending.own = pending.own - told.T @ told
        pending.across -= told.T @ added

    def _less(self, added: Floats) -> Floats:
        """Covariances of the candidates without what some trials tell, ``(n, candidates)``."""
        blocks = added.reshape(len(added), -1, self._width).transpose(1, 2, 0)
        return self.covariance - blocks @ blocks.transpose(0, 2, 1)


def _samples(mean: Floats, covariance: Floats, normals: Floats) -> Floats:
    spread = np.einsum("bii->b", covariance) / covariance.shape[-1]
    ridge = JITTER + 1e-4 * np.maximum(spread, 0.0)[:, None]
    covariance = covariance.copy()
    diagonal = np.einsum("bii->bi", covariance)
    diagonal += ridge
    lower = np.linalg.cholesky(covariance)
    drawn: Floats = mean + np.einsum("bij,sj->sbi", lower, normals)
    return drawn
