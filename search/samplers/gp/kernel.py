"""The covariance of the surrogate: trends of training and compression, and deviations from them.

Rasmussen & Williams 2006, *Gaussian Processes for Machine Learning*, section 2.7 (explicit basis
functions with Gaussian coefficients).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.arrays import Floats, Integers


@dataclass(frozen=True)
class Features:
    """What the surrogate sees of some configurations.

    Args:
        trained: Coordinates of architecture and budget, ``(n, p)``, in doublings.
        lost: Coordinates of compression, ``(n, q)``, all zero without compression.
        run: Which training run each belongs to, ``(n,)``.
    """

    trained: Floats
    lost: Floats
    run: Integers

    def __len__(self) -> int:
        return len(self.run)

    def take(self, rows: Integers) -> Features:
        """Some of the configurations, by index."""
        return Features(self.trained[rows], self.lost[rows], self.run[rows])


@dataclass(frozen=True)
class CompressionTrend:
    """A trend of what compression takes away: ``amount ** power``, milder for larger models.

    Args:
        coordinate: Which ``lost`` coordinate the amount is.
        power: Its power.
        mean: Prior mean of the coefficient, negative.
        deviation: Its prior deviation.
        weaker_along: Which ``trained`` coordinate makes it milder.
        interaction_mean: Prior mean of the coefficient of their product.
        interaction_deviation: Its prior deviation.
    """

    coordinate: int
    power: float
    mean: float
    deviation: float
    weaker_along: int
    interaction_mean: float
    interaction_deviation: float


@dataclass(frozen=True)
class Prior:
    """What is believed before any trial.

    Args:
        level: Mean and deviation of the value at the origin.
        slopes: Mean and deviation of the trend along each ``trained`` coordinate.
        compression_trends: Trends of the ``lost`` coordinates.
        training_length_scales: Length scale of each ``trained`` coordinate, ``(p,)``.
        compression_length_scales: Length scale of each ``lost`` coordinate, ``(q,)``.
        deviations: Of ``trained`` from its trend, of ``lost`` from its own, and of a run.
        alike: Distance in ``trained`` over which losses have the same deviation.
        noise: Deviation of the noise, as a share of the deviation that trials come with.
    """

    level: tuple[float, float]
    slopes: tuple[tuple[float, float], ...]
    compression_trends: tuple[CompressionTrend, ...]
    training_length_scales: tuple[float, ...]
    compression_length_scales: tuple[float, ...]
    deviations: tuple[float, float, float] = (0.35, 0.25, 0.15)
    alike: float = 3.0
    noise: float = 0.5


@dataclass(frozen=True)
class Prepared:
    """Features with the bases of the trends.

    Args:
        trained: As in the features.
        lost: As in the features.
        run: As in the features.
        basis: Bases times the deviations of their coefficients, ``(n, bases)``.
        mean: Prior mean of the value, ``(n,)``.
    """

    trained: Floats
    lost: Floats
    run: Integers
    basis: Floats
    mean: Floats

    def take(self, rows: Integers) -> Prepared:
        """Some of the configurations, by index."""
        return Prepared(**{name: part[rows] for name, part in vars(self).items()})

    def followed_by(self, other: Prepared) -> Prepared:
        """These configurations, and others after them."""
        mine, others = vars(self), vars(other)
        return Prepared(**{name: np.concatenate([mine[name], others[name]]) for name in mine})

    def in_blocks(self, width: int) -> Prepared:
        """With one more leading dimension, ``(blocks, width)``."""
        shape = (len(self.run) // width, width)
        return Prepared(
            **{name: part.reshape(*shape, *part.shape[1:]) for name, part in vars(self).items()}
        )


class Kernel:
    """The covariance, and the prior of its hyperparameters.

    They are logarithms, in this order: deviations of ``trained``, of ``lost`` and of a run; the
    share of the noise; the distance over which losses are alike; the length scales of the
    coordinates. Their prior is a normal distribution around ``means`` with deviations ``spread``.

    Args:
        prior: What is believed before any trial.
    """

    def __init__(self, prior: Prior) -> None:
        self._prior = prior
        self._p = len(prior.training_length_scales)
        scales = [prior.alike, *prior.training_length_scales, *prior.compression_length_scales]
        self.prior_means: Floats = np.log([*prior.deviations, prior.noise, *scales])
        self.prior_deviations: Floats = np.array([0.8] * 3 + [0.7] + [0.5] * len(scales))

    def prepare(self, features: Features) -> Prepared:
        """Compute what does not depend on hyperparameters."""
        prior = self._prior
        columns, means, deviations = [np.ones(len(features))], [prior.level[0]], [prior.level[1]]
        for index, (mean, deviation) in enumerate(prior.slopes):
            columns.append(features.trained[:, index])
            means.append(mean)
            deviations.append(deviation)
        for loss in prior.compression_trends:
            amount = features.lost[:, loss.coordinate] ** loss.power
            columns += [amount, amount * features.trained[:, loss.weaker_along]]
            means += [loss.mean, loss.interaction_mean]
            deviations += [loss.deviation, loss.interaction_deviation]
        basis = np.stack(columns, 1)
        return Prepared(
            features.trained,
            features.lost,
            features.run,
            basis * np.array(deviations),
            basis @ np.array(means),
        )

    def covariance(self, a: Prepared, b: Prepared, theta: Floats) -> Floats:
        """Covariances, ``(..., len(a), len(b))``, over shared leading dimensions."""
        of_trained, of_lost, of_run, _, alike, *scales = np.exp(theta)
        training_length_scales, compression_length_scales = (
            np.array(scales[: self._p]),
            np.array(scales[self._p :]),
        )
        near = _gaussian(a.trained / training_length_scales, b.trained / training_length_scales)
        similar = 0.5 + 0.5 * _gaussian(a.trained / alike, b.trained / alike)
        lost_a, lost_b = a.lost / compression_length_scales, b.lost / compression_length_scales
        # Conditioned on being zero where nothing is compressed.
        from_a = np.exp(-0.5 * (lost_a**2).sum(-1))
        from_b = np.exp(-0.5 * (lost_b**2).sum(-1))
        pinned = _gaussian(lost_a, lost_b) - from_a[..., :, None] * from_b[..., None, :]
        same_run = a.run[..., :, None] == b.run[..., None, :]
        covariance: Floats = a.basis @ np.swapaxes(b.basis, -1, -2)
        covariance += of_trained**2 * near + of_lost**2 * pinned * similar
        covariance += of_run**2 * same_run
        return covariance

    def block_covariances(self, data: Prepared, width: int, theta: Floats) -> Floats:
        """Covariances within blocks, ``(blocks, width, width)``."""
        shaped = data.in_blocks(width)
        return self.covariance(shaped, shaped, theta)

    @staticmethod
    def noise(variances: Floats, theta: Floats) -> Floats:
        """Variances of the noise."""
        scaled: Floats = variances * np.exp(2.0 * theta[3])
        return scaled


def _gaussian(a: Floats, b: Floats) -> Floats:
    """``exp(-|x - y|^2 / 2)`` between the rows of a and b."""
    products = a @ np.swapaxes(b, -1, -2)
    squares = (a**2).sum(-1)[..., :, None] + (b**2).sum(-1)[..., None, :] - 2 * products
    similarity: Floats = np.exp(-0.5 * np.maximum(squares, 0.0))
    return similarity
