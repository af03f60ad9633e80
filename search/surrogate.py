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

from search.arrays import Floats, cholesky, solve_lower
from search.covariance import Features, Kernel, Prepared, Prior
from search.hyperparameters import JITTER


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


class Surrogate:
    """A mixture of Gaussian processes over the candidates of a space.

    Args:
        candidates: Configurations in blocks that share a training run, ``(blocks * width,)``.
        width: Configurations in a block.
        prior: What is believed before any trial.
        hyperparameters: From ``draw``; the prior's without.
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
            for theta in hyperparameters or [self._kernel.means]
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
            noise: Variances of the noise, ``(n,)``, as for ``draw``.
        """
        if len(features):
            new = self._kernel.prepare(features)
            for process in self._processes:
                process.condition(new, values, noise)

    def watch(self, features: Features, kept: Sequence[int] = ()) -> None:
        """Say which trials are under way.

        Of those that stay, what they tell of the candidates is kept up as trials are observed, so
        that with hundreds of them a change of a few costs little.

        Args:
            features: What has begun, ``(n,)`` configurations.
            kept: Which of those so far stay, by index; the new ones follow them.
        """
        new = self._kernel.prepare(features)
        for process in self._processes:
            process.watch(new, kept)

    def expecting(self, noise_at: Callable[[Floats], Floats]) -> tuple[Posterior, Floats]:
        """What would be known of the candidates if the trials under way came out as expected.

        Args:
            noise_at: Variances of the noise of trials with some values.

        Returns:
            What would be known, and the values that are expected of the trials, ``(n,)``.
        """
        now = self.posterior
        expected: Floats = np.mean([each.watched_mean for each in self._processes], axis=0)
        if not len(expected):
            return now, expected
        noise = noise_at(expected)
        return Posterior(now.means, [each.expecting(noise) for each in self._processes]), expected

    def predict(self, features: Features) -> tuple[Floats, Floats]:
        """Expected values and variances of any configurations, each ``(n,)``, without noise."""
        new = self._kernel.prepare(features)
        found = [process.predict(new) for process in self._processes]
        means = np.array([mean for mean, _ in found])
        variances = np.array([variance for _, variance in found])
        return means.mean(0), variances.mean(0) + means.var(0)


class _Process:
    """One Gaussian process, conditioned a few trials at a time."""

    def __init__(self, kernel: Kernel, candidates: Prepared, width: int, theta: Floats) -> None:
        self._kernel = kernel
        self._theta = theta
        self._candidates = candidates
        self._width = width
        self.mean = candidates.mean.reshape(-1, width)
        self.covariance = kernel.blocks(candidates, width, theta)
        nothing = candidates.take([])
        self._observed = nothing
        self._factor = np.zeros((0, 0))
        # In the parts in which trials came: one array would be copied whole at each of them.
        self._whitened: tuple[Floats, ...] = ()
        self._residuals = np.zeros(0)
        self._watched = nothing
        self.watched_mean = np.zeros(0)
        self._watched_part = np.zeros((0, 0))
        self._watched_own = np.zeros((0, 0))
        self._watched_across = np.zeros((0, len(candidates.run)))

    def expect(self, new: Prepared) -> tuple[Floats, Floats]:
        """Expected values of trials, and their rows of the Cholesky factor."""
        part = np.zeros((len(new.run), 0))
        if len(self._factor):
            across = self._kernel.between(self._observed, new, self._theta)
            part = solve_lower(self._factor, across).T
        expected: Floats = new.mean + part @ self._residuals
        return expected, part

    def predict(self, new: Prepared) -> tuple[Floats, Floats]:
        """Expected values of configurations, and their variances."""
        expected, part = self.expect(new)
        own = np.diag(self._kernel.between(new, new, self._theta))
        return expected, np.maximum(own - (part**2).sum(1), 0.0)

    def condition(self, new: Prepared, values: Floats, noise: Floats) -> None:
        """Take trials in."""
        kernel, theta = self._kernel, self._theta
        known, count = len(self._factor), len(new.run)
        expected, part = self.expect(new)
        own = kernel.between(new, new, theta) - part @ part.T
        corner = cholesky(own + np.diag(kernel.noise(noise, theta) + JITTER))
        added = solve_lower(corner, self._across(new, part))
        residuals = solve_lower(corner, values - expected)
        self._follow(new, part, corner, added, residuals)
        lower = np.zeros((known + count, known + count))
        lower[:known, :known] = self._factor
        lower[known:, :known] = part
        lower[known:, known:] = corner
        self._factor = lower
        self._whitened = (*self._whitened, added)
        self._residuals = np.concatenate([self._residuals, residuals])
        self._observed = self._observed.followed_by(new)
        self.covariance = self._less(added)
        self.mean = self.mean + (residuals @ added).reshape(self.mean.shape)

    def watch(self, new: Prepared, kept: Sequence[int]) -> None:
        """Keep some of the trials under way, and add others."""
        rows = np.array(kept, dtype=np.int64)
        expected, part = self.expect(new)
        stay, before = self._watched.take(rows), self._watched_part[rows]
        cross = self._kernel.between(new, stay, self._theta) - part @ before.T
        own = self._kernel.between(new, new, self._theta) - part @ part.T
        self._watched_own = np.block(
            [[self._watched_own[np.ix_(rows, rows)], cross.T], [cross, own]]
        )
        self._watched_across = np.vstack([self._watched_across[rows], self._across(new, part)])
        self._watched_part = np.vstack([before, part])
        self._watched = stay.followed_by(new)
        self.watched_mean = np.concatenate([self.watched_mean[rows], expected])

    def expecting(self, noise: Floats) -> Floats:
        """Covariances of the candidates if the trials under way came out as expected."""
        noise = self._kernel.noise(noise, self._theta)
        corner = cholesky(self._watched_own + np.diag(noise + JITTER))
        return self._less(solve_lower(corner, self._watched_across))

    def _follow(
        self, new: Prepared, part: Floats, corner: Floats, added: Floats, residuals: Floats
    ) -> None:
        """Let what is known of the trials under way follow what was observed."""
        cross = self._kernel.between(new, self._watched, self._theta) - part @ self._watched_part.T
        told = solve_lower(corner, cross)
        self._watched_own = self._watched_own - told.T @ told
        self._watched_across -= told.T @ added
        self._watched_part = np.hstack([self._watched_part, told.T])
        self.watched_mean = self.watched_mean + residuals @ told

    def _across(self, new: Prepared, part: Floats) -> Floats:
        """Covariances of trials with the candidates, ``(n, blocks * width)``."""
        across = self._kernel.between(new, self._candidates, self._theta)
        first = 0
        for rows in self._whitened:
            across -= part[:, first : first + len(rows)] @ rows
            first += len(rows)
        return across

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
