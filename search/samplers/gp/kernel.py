"""The kernel: linear trends of training and of compression, and smooth deviations from them.

Rasmussen & Williams 2006, *Gaussian Processes for Machine Learning*, section 2.7 (explicit basis
functions with Gaussian coefficients).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from search.arrays import Floats, Integers

JITTER = 1e-6
"""Added to the diagonals of covariances before they are factorised."""


@dataclass(frozen=True)
class Features:
    """Inputs of the Gaussian process: features of some configurations.

    Args:
        training: Features of architecture and budget, ``(n, p)``, in doublings.
        compression: Features of the compression, ``(n, q)``, all zero without compression.
        run: Index of the training run of each, ``(n,)``.
    """

    training: Floats
    compression: Floats
    run: Integers

    def __len__(self) -> int:
        return len(self.run)

    def take(self, rows: Integers) -> Self:
        """Some of the configurations, by index."""
        return type(self)(**{name: part[rows] for name, part in vars(self).items()})


@dataclass(frozen=True)
class CompressionTrend:
    """A trend ``amount ** power`` of what compression costs, and its interaction with model size.

    The coefficients of the trend and of the interaction have normal priors.

    Args:
        feature: Index of the ``compression`` feature that is the amount.
        interacts_with: Index of the ``training`` feature that it is multiplied by.
    """

    feature: int
    power: float
    mean: float
    deviation: float
    interacts_with: int
    interaction_mean: float
    interaction_deviation: float


@dataclass(frozen=True)
class Prior:
    """Prior of the trends, and centres of the priors of the hyperparameters.

    Args:
        level: Mean and standard deviation of the value at the origin.
        slopes: Mean and standard deviation of the trend along each ``training`` feature.
        compression_trends: Trends of the ``compression`` features.
        curvatures: Index of a ``training`` feature, and mean and standard deviation of the trend
            along its square.
        training_scales: Length scale of each ``training`` feature, ``(p,)``.
        compression_scales: Length scale of each ``compression`` feature, ``(q,)``.
        deviations: Standard deviations of training from its trend, of compression from its own,
            and of a training run.
        similarity_scale: Length scale over ``training`` at which compressions have similar effects.
        noise: Standard deviation of the noise, as a fraction of the one reported for each trial.
    """

    level: tuple[float, float]
    slopes: tuple[tuple[float, float], ...]
    compression_trends: tuple[CompressionTrend, ...]
    training_scales: tuple[float, ...]
    compression_scales: tuple[float, ...]
    deviations: tuple[float, float, float] = (0.35, 0.25, 0.15)
    similarity_scale: float = 3.0
    noise: float = 0.5
    curvatures: tuple[tuple[int, float, float], ...] = ()


@dataclass(frozen=True)
class Prepared(Features):
    """Features with the basis functions of the trends.

    Args:
        basis: Basis functions times the deviations of their coefficients, ``(n, functions)``.
        mean: Prior mean of the value, ``(n,)``.
    """

    basis: Floats
    mean: Floats

    def followed_by(self, other: Prepared) -> Prepared:
        """These configurations, then the others."""
        mine, others = vars(self), vars(other)
        return Prepared(**{name: np.concatenate([mine[name], others[name]]) for name in mine})

    def in_blocks(self, width: int) -> Prepared:
        """The same arrays with two leading dimensions, ``(blocks, width)``."""
        shape = (len(self.run) // width, width)
        return Prepared(
            **{name: part.reshape(*shape, *part.shape[1:]) for name, part in vars(self).items()}
        )


class Kernel:
    """Covariances of values, and the prior of the kernel's hyperparameters.

    A vector ``theta`` of hyperparameters holds logarithms: the three deviations, the noise, the
    similarity scale, then the length scales of the features. Its prior is normal, with means
    ``prior_means`` and standard deviations ``prior_deviations``.
    """

    def __init__(self, prior: Prior) -> None:
        self._prior = prior
        scales = [prior.similarity_scale, *prior.training_scales, *prior.compression_scales]
        self.prior_means: Floats = np.log([*prior.deviations, prior.noise, *scales])
        self.prior_deviations: Floats = np.array([0.8] * 3 + [0.7] + [0.5] * len(scales))

    def prepare(self, features: Features) -> Prepared:
        """Compute everything that does not depend on hyperparameters."""
        prior = self._prior
        columns = [np.ones(len(features)), *features.training.T[: len(prior.slopes)]]
        coefficients = [prior.level, *prior.slopes]
        for feature, mean, deviation in prior.curvatures:
            columns.append(features.training[:, feature] ** 2)
            coefficients.append((mean, deviation))
        for trend in prior.compression_trends:
            amount = features.compression[:, trend.feature] ** trend.power
            columns += [amount, amount * features.training[:, trend.interacts_with]]
            coefficients.append((trend.mean, trend.deviation))
            coefficients.append((trend.interaction_mean, trend.interaction_deviation))
        basis = np.stack(columns, 1)
        means, deviations = map(np.array, zip(*coefficients, strict=True))
        return Prepared(**vars(features), basis=basis * deviations, mean=basis @ means)

    def covariance(self, a: Prepared, b: Prepared, theta: Floats) -> Floats:
        """Covariances, ``(..., len(a), len(b))``, over shared leading dimensions."""
        of_training, of_compression, of_run, _, similarity, *scales = np.exp(theta)
        training_scales, compression_scales = np.split(np.array(scales), [a.training.shape[-1]])
        near = _gaussian(a.training / training_scales, b.training / training_scales)
        similar = 0.5 + 0.5 * _gaussian(a.training / similarity, b.training / similarity)
        scaled_a, scaled_b = a.compression / compression_scales, b.compression / compression_scales
        # Conditioned on a deviation of zero where nothing is compressed.
        from_a = np.exp(-0.5 * (scaled_a**2).sum(-1))
        from_b = np.exp(-0.5 * (scaled_b**2).sum(-1))
        pinned = _gaussian(scaled_a, scaled_b) - from_a[..., :, None] * from_b[..., None, :]
        same_run = a.run[..., :, None] == b.run[..., None, :]
        covariance: Floats = a.basis @ np.swapaxes(b.basis, -1, -2)
        covariance += of_training**2 * near + of_compression**2 * pinned * similar
        covariance += of_run**2 * same_run
        return covariance

    @staticmethod
    def diagonal(noise: Floats, theta: Floats) -> Floats:
        """What trials with some reported variances of noise add to the diagonal."""
        added: Floats = noise * np.exp(2.0 * theta[3]) + JITTER
        return added


def _gaussian(a: Floats, b: Floats) -> Floats:
    """``exp(-|x - y|^2 / 2)`` between the rows of a and b."""
    products = a @ np.swapaxes(b, -1, -2)
    squares = (a**2).sum(-1)[..., :, None] + (b**2).sum(-1)[..., None, :] - 2 * products
    similarity: Floats = np.exp(-0.5 * np.maximum(squares, 0.0))
    return similarity
