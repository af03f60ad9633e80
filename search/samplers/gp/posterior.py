"""The posterior of a mixture of Gaussian processes, and joint samples of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.arrays import Floats

JITTER = 1e-6
"""Added to the diagonals of covariances before they are factorised."""


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
            Values, ``(processes * samples, blocks, width)``.
        """
        each = zip(self.means, self.covariances, strict=True)
        return np.concatenate([_samples(*normal, normals) for normal in each])


def _samples(mean: Floats, covariance: Floats, normals: Floats) -> Floats:
    spread = np.einsum("bii->b", covariance) / covariance.shape[-1]
    ridge = JITTER + 1e-4 * np.maximum(spread, 0.0)[:, None]
    covariance = covariance.copy()
    diagonal = np.einsum("bii->bi", covariance)
    diagonal += ridge
    lower = np.linalg.cholesky(covariance)
    samples: Floats = mean + np.einsum("bij,sj->sbi", lower, normals)
    return samples
