"""A mixture of Gaussian processes whose kernel models training and compression.

The effects of training and compression add up:

    value = training(architecture, budget) + compression(compression, architecture, budget)

Values are transformed qualities (``outcome_transform.py``). ``training`` is a linear trend in the
logarithms of depth, width and budget (learning curves and scaling laws are close to lines there),
plus a smooth deviation, plus a deviation of each training run, because seeds differ.
``compression`` is zero without compression. It falls with a linear trend in quantisation error and
sparsity, less for wider models, and has a smooth deviation that models of similar size share. The
priors of the trends are informative: more training helps, heavier compression hurts. Sizes and
length scales of the deviations are sampled (``hyperparameters.py``), one process for each sample.

Rasmussen & Williams 2006, *Gaussian Processes for Machine Learning*, section 2.2 (posterior).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from search.arrays import Floats, Integers, cholesky, solve_lower
from search.samplers.gp.kernel import JITTER, Features, Kernel, Prepared, Prior


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
        """Joint samples within each block, without noise, ``(processes * samples, blocks, width)``.

        Args:
            normals: Standard normal numbers, ``(samples, width)``, the same for all blocks.
        """
        samples = []
        for mean, covariance in zip(self.means, self.covariances, strict=True):
            spread = np.einsum("bii->b", covariance) / covariance.shape[-1]
            regular = covariance.copy()
            diagonal = np.einsum("bii->bi", regular)
            diagonal += JITTER + 1e-4 * np.maximum(spread, 0.0)[:, None]
            samples.append(mean + np.einsum("bij,sj->sbi", np.linalg.cholesky(regular), normals))
        return np.concatenate(samples)


class GaussianProcessMixture:
    """A mixture of Gaussian processes over the candidates of a design space.

    Args:
        candidates: Configurations in blocks that share a training run, ``(blocks * width,)``.
        width: Configurations in a block.
        hyperparameters: From ``sample_hyperparameters``; by default the means of their prior.
    """

    def __init__(
        self,
        candidates: Features,
        width: int,
        prior: Prior,
        hyperparameters: list[Floats] | None = None,
    ) -> None:
        self._kernel = Kernel(prior)
        prepared = self._kernel.prepare(candidates)
        self._processes = [
            _GaussianProcess(self._kernel, prepared, width, theta)
            for theta in hyperparameters or [self._kernel.prior_means]
        ]

    @property
    def posterior(self) -> Posterior:
        """The posterior of the candidates, given the observed trials."""
        means = np.array([process.mean for process in self._processes])
        return Posterior(means, [process.covariance for process in self._processes])

    def observe(self, features: Features, values: Floats, noise: Floats) -> None:
        """Condition on finished trials; arguments as for ``sample_hyperparameters``."""
        if len(features):
            new = self._kernel.prepare(features)
            for process in self._processes:
                process.condition(new, values, noise)

    def set_pending(self, features: Features, kept: Sequence[int] = ()) -> None:
        """Replace the pending trials, those that are running.

        The covariances of those kept are updated with each observation, so that a change of a few
        trials costs little when hundreds are running.

        Args:
            features: Configurations of the new pending trials, ``(n,)``.
            kept: Indices of the present pending trials that remain; the new ones follow them.
        """
        new = self._kernel.prepare(features)
        for process in self._processes:
            process.set_pending(new, kept)

    def with_pending(self, noise_at: Callable[[Floats], Floats]) -> tuple[Posterior, Floats]:
        """The posterior if every pending trial gave its expected value, and these values, ``(n,)``.

        Args:
            noise_at: Variances of the noise of trials with some values.
        """
        now = self.posterior
        expected: Floats = np.mean([each.pending.mean for each in self._processes], axis=0)
        if not len(expected):
            return now, expected
        noise = noise_at(expected)
        covariances = [each.covariance_with_pending(noise) for each in self._processes]
        return Posterior(now.means, covariances), expected

    def predict(self, features: Features) -> tuple[Floats, Floats]:
        """Means and variances, ``(n,)`` each, of any configurations, without noise."""
        new = self._kernel.prepare(features)
        predictions = np.array([process.predict(new) for process in self._processes])
        means, variances = np.swapaxes(predictions, 0, 1)
        return means.mean(0), variances.mean(0) + means.var(0)


@dataclass
class _Conditional:
    """The normal distribution of some trials, given the observed ones.

    Args:
        inputs: Their configurations, ``(n,)``.
        mean: Expected values, ``(n,)``.
        part: Their rows of the Cholesky factor, ``(n, observed)``.
        own: Covariances among them, ``(n, n)``.
        across: Covariances with the candidates, ``(n, candidates)``.
    """

    inputs: Prepared
    mean: Floats
    part: Floats
    own: Floats
    across: Floats

    def take(self, rows: Integers) -> _Conditional:
        return _Conditional(
            self.inputs.take(rows),
            self.mean[rows],
            self.part[rows],
            self.own[np.ix_(rows, rows)],
            self.across[rows],
        )


class _GaussianProcess:
    """One process of the mixture, which is conditioned on a few trials at a time.

    Its Cholesky factor grows by blocks of rows (Rasmussen & Williams 2006, section A.3).
    """

    def __init__(self, kernel: Kernel, candidates: Prepared, width: int, theta: Floats) -> None:
        self._kernel = kernel
        self._theta = theta
        self._candidates = candidates
        self._width = width
        self.mean = candidates.mean.reshape(-1, width)
        blocks = candidates.in_blocks(width)
        self.covariance = kernel.covariance(blocks, blocks, theta)
        nothing = candidates.take(np.zeros(0, dtype=np.int64))
        self._observed = nothing
        self._factor = np.zeros((0, 0))
        # One array for each call of condition: a single one would be copied whole every time.
        self._whitened: tuple[Floats, ...] = ()
        self._residuals = np.zeros(0)
        self.pending = self._conditional(nothing)

    def predict(self, new: Prepared) -> tuple[Floats, Floats]:
        """Means and variances of any configurations, ``(n,)`` each."""
        mean, part = self._mean_and_part(new)
        own = np.diag(self._kernel.covariance(new, new, self._theta))
        return mean, np.maximum(own - (part**2).sum(1), 0.0)

    def condition(self, new: Prepared, values: Floats, noise: Floats) -> None:
        """Condition on finished trials."""
        known, count = len(self._factor), len(new.run)
        trials, pending = self._conditional(new), self.pending
        corner = self._corner(trials, noise)
        added = solve_lower(corner, trials.across)
        residuals = solve_lower(corner, values - trials.mean)
        rows = solve_lower(corner, self._covariance(trials, pending))
        pending.mean = pending.mean + residuals @ rows
        pending.part = np.hstack([pending.part, rows.T])
        pending.own = pending.own - rows.T @ rows
        pending.across -= rows.T @ added
        lower = np.zeros((known + count, known + count))
        lower[:known, :known] = self._factor
        lower[known:, :known] = trials.part
        lower[known:, known:] = corner
        self._factor = lower
        self._whitened = (*self._whitened, added)
        self._residuals = np.concatenate([self._residuals, residuals])
        self._observed = self._observed.followed_by(new)
        self.covariance = self._reduced(added)
        self.mean = self.mean + (residuals @ added).reshape(self.mean.shape)

    def set_pending(self, new: Prepared, kept: Sequence[int]) -> None:
        """Keep some of the pending trials, and append new ones."""
        old, new_ones = self.pending.take(np.array(kept, dtype=np.int64)), self._conditional(new)
        cross = self._covariance(new_ones, old)
        self.pending = _Conditional(
            old.inputs.followed_by(new_ones.inputs),
            np.concatenate([old.mean, new_ones.mean]),
            np.vstack([old.part, new_ones.part]),
            np.block([[old.own, cross.T], [cross, new_ones.own]]),
            np.vstack([old.across, new_ones.across]),
        )

    def covariance_with_pending(self, noise: Floats) -> Floats:
        """Covariances of the candidates once the pending trials are observed too."""
        corner = self._corner(self.pending, noise)
        return self._reduced(solve_lower(corner, self.pending.across))

    def _conditional(self, new: Prepared) -> _Conditional:
        mean, part = self._mean_and_part(new)
        across = self._kernel.covariance(new, self._candidates, self._theta)
        first = 0
        for rows in self._whitened:
            across -= part[:, first : first + len(rows)] @ rows
            first += len(rows)
        own = self._kernel.covariance(new, new, self._theta) - part @ part.T
        return _Conditional(new, mean, part, own, across)

    def _mean_and_part(self, new: Prepared) -> tuple[Floats, Floats]:
        """Expected values of trials, and their rows of the Cholesky factor."""
        part = np.zeros((len(new.run), 0))
        if len(self._factor):
            across = self._kernel.covariance(self._observed, new, self._theta)
            part = solve_lower(self._factor, across).T
        mean: Floats = new.mean + part @ self._residuals
        return mean, part

    def _covariance(self, a: _Conditional, b: _Conditional) -> Floats:
        """Covariances of trials, given the observed ones, ``(len(a), len(b))``."""
        return self._kernel.covariance(a.inputs, b.inputs, self._theta) - a.part @ b.part.T

    def _corner(self, trials: _Conditional, noise: Floats) -> Floats:
        """Cholesky factor of the covariances of noisy trials."""
        return cholesky(trials.own + np.diag(self._kernel.diagonal(noise, self._theta)))

    def _reduced(self, added: Floats) -> Floats:
        """Covariances of the candidates less what whitened rows ``(n, candidates)`` explain."""
        blocks = added.reshape(len(added), -1, self._width).transpose(1, 2, 0)
        return self.covariance - blocks @ blocks.transpose(0, 2, 1)
