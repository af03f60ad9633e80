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

from collections.abc import Callable

import numpy as np

from search.arrays import Floats, cholesky, solve_lower
from search.covariance import Features, Kernel, Prepared, Prior
from search.hyperparameters import JITTER


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
    def mean(self) -> Floats:
        """Expected values, ``(blocks, width)``."""
        average: Floats = np.mean([process.mean for process in self._processes], axis=0)
        return average

    @property
    def variance(self) -> Floats:
        """Variances, ``(blocks, width)``: within the processes, and between their means."""
        within = [np.einsum("bii->bi", process.covariance) for process in self._processes]
        between = np.var([process.mean for process in self._processes], axis=0)
        total: Floats = np.mean(within, axis=0) + between
        return total

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

    def believe(
        self, features: Features, noise_at: Callable[[Floats], Floats]
    ) -> tuple[Surrogate, Floats]:
        """What the surrogate would be if trials that are under way came out as expected.

        Args:
            features: What is under way, ``(n,)`` configurations.
            noise_at: Variances of the noise of trials with some values.

        Returns:
            The other surrogate, and the expected values, ``(n,)``.
        """
        new = self._kernel.prepare(features)
        expected: Floats = np.mean([each.expect(new)[0] for each in self._processes], axis=0)
        other = object.__new__(Surrogate)
        other._kernel = self._kernel
        other._processes = [process.copy() for process in self._processes]
        for process in other._processes:
            process.condition(new, None, noise_at(expected))
        return other, expected

    def predict(self, features: Features) -> tuple[Floats, Floats]:
        """Expected values and variances of any configurations, each ``(n,)``, without noise."""
        new = self._kernel.prepare(features)
        found = [process.predict(new) for process in self._processes]
        means = np.array([mean for mean, _ in found])
        variances = np.array([variance for _, variance in found])
        return means.mean(0), variances.mean(0) + means.var(0)

    def samples(self, normals: Floats) -> Floats:
        """Joint samples within each block, without noise.

        Args:
            normals: Standard normal numbers, ``(samples, width)``, the same for all blocks.

        Returns:
            Transformed qualities, ``(processes * samples, blocks, width)``.
        """
        return np.concatenate([process.samples(normals) for process in self._processes])


class _Process:
    """One Gaussian process, conditioned a few trials at a time."""

    def __init__(self, kernel: Kernel, candidates: Prepared, width: int, theta: Floats) -> None:
        self._kernel = kernel
        self._theta = theta
        self._candidates = candidates
        self._width = width
        self.mean = candidates.mean.reshape(-1, width)
        self.covariance = kernel.blocks(candidates, width, theta)
        self._observed: Prepared | None = None
        self._factor = np.zeros((0, 0))
        # In the parts in which trials came: one array would be copied whole at each of them.
        self._whitened: tuple[Floats, ...] = ()
        self._residuals = np.zeros(0)

    def copy(self) -> _Process:
        other = object.__new__(_Process)
        vars(other).update(vars(self))
        return other

    def expect(self, new: Prepared) -> tuple[Floats, Floats]:
        """Expected values of trials, and their rows of the Cholesky factor."""
        part = np.zeros((len(new.run), 0))
        if self._observed is not None:
            across = self._kernel.between(self._observed, new, self._theta)
            part = solve_lower(self._factor, across).T
        expected: Floats = new.mean + part @ self._residuals
        return expected, part

    def predict(self, new: Prepared) -> tuple[Floats, Floats]:
        """Expected values of configurations, and their variances."""
        expected, part = self.expect(new)
        own = np.diag(self._kernel.between(new, new, self._theta))
        return expected, np.maximum(own - (part**2).sum(1), 0.0)

    def condition(self, new: Prepared, values: Floats | None, noise: Floats) -> None:
        """Take trials in, with their values or as expected."""
        kernel, theta = self._kernel, self._theta
        known, count = len(self._factor), len(new.run)
        expected, part = self.expect(new)
        own = kernel.between(new, new, theta) - part @ part.T
        corner = cholesky(own + np.diag(kernel.noise(noise, theta) + JITTER))
        across = kernel.between(new, self._candidates, theta)
        first = 0
        for rows in self._whitened:
            across -= part[:, first : first + len(rows)] @ rows
            first += len(rows)
        added = solve_lower(corner, across)
        residuals = np.zeros(count) if values is None else solve_lower(corner, values - expected)
        lower = np.zeros((known + count, known + count))
        lower[:known, :known] = self._factor
        lower[known:, :known] = part
        lower[known:, known:] = corner
        self._factor = lower
        self._whitened = (*self._whitened, added)
        self._residuals = np.concatenate([self._residuals, residuals])
        self._observed = new if self._observed is None else self._observed.followed_by(new)
        blocks = added.reshape(count, -1, self._width)
        self.covariance = self.covariance - np.einsum("nbi,nbj->bij", blocks, blocks)
        self.mean = self.mean + (residuals @ added).reshape(self.mean.shape)

    def samples(self, normals: Floats) -> Floats:
        spread = np.einsum("bii->b", self.covariance) / self._width
        ridge = JITTER + 1e-4 * np.maximum(spread, 0.0)[:, None]
        covariance = self.covariance.copy()
        diagonal = np.einsum("bii->bi", covariance)
        diagonal += ridge
        lower = np.linalg.cholesky(covariance)
        drawn: Floats = self.mean + np.einsum("bij,sj->sbi", lower, normals)
        return drawn
