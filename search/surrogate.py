"""The surrogate: a Gaussian process that knows how training and compression shape accuracy.

It works on the logarithm of the accuracy above a floor, where what compression takes away is a
share of what training gave, and so adds up:

    log(accuracy - floor) = trained(architecture, budget) + lost(compression, architecture, budget)

``trained`` is a linear trend in the logarithms of depth, width and budget (learning curves and
scaling laws are close to lines there) plus a smooth deviation, plus a deviation of each training
run, because two seeds differ. ``lost`` is zero without compression, falls with a linear trend in
bases of quantisation error and sparsity, less for wider models, and has a smooth deviation that
shares its shape between models. The trends have informed priors: more training helps, and heavier
compression hurts. Everything else is fitted to the trials (MAP), and the deviations take over
where the priors are wrong.

Rasmussen & Williams 2006, *Gaussian Processes for Machine Learning*, sections 2.2 (posterior), 2.7
(explicit basis functions with Gaussian coefficients) and 5.4 (marginal likelihood).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from search.arrays import Floats, Integers

JITTER = 1e-6
FIT_ITERATIONS = 20
LARGEST_FIT = 160
"""Observations that hyperparameters are fitted to; more cost time and change little."""


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
class Loss:
    """A trend of what compression takes away: ``amount ** power``, milder for larger models.

    Args:
        coordinate: Which ``lost`` coordinate the amount is.
        power: Its power.
        mean: Prior mean of the coefficient, negative.
        deviation: Its prior deviation.
        milder_along: Which ``trained`` coordinate makes it milder.
        milder_mean: Prior mean of the coefficient of their product.
        milder_deviation: Its prior deviation.
    """

    coordinate: int
    power: float
    mean: float
    deviation: float
    milder_along: int
    milder_mean: float
    milder_deviation: float


@dataclass(frozen=True)
class Prior:
    """What is believed before any trial.

    Args:
        level: Mean and deviation of the value at the origin.
        slopes: Mean and deviation of the trend along each ``trained`` coordinate.
        losses: Trends of the ``lost`` coordinates.
        trained_scales: Length scale of each ``trained`` coordinate, ``(p,)``.
        lost_scales: Length scale of each ``lost`` coordinate, ``(q,)``.
        deviations: Of ``trained`` from its trend, of ``lost`` from its own, and of a run.
        alike: Distance in ``trained`` over which losses have the same deviation.
    """

    level: tuple[float, float]
    slopes: tuple[tuple[float, float], ...]
    losses: tuple[Loss, ...]
    trained_scales: tuple[float, ...]
    lost_scales: tuple[float, ...]
    deviations: tuple[float, float, float] = (0.35, 0.25, 0.06)
    alike: float = 3.0


class Surrogate:
    """A Gaussian process over the candidates of a space, conditioned one trial at a time.

    Args:
        candidates: Configurations in blocks that share a training run, ``(blocks * width,)``.
        width: Configurations in a block.
        prior: What is believed before any trial.
        hyperparameters: From ``fit``; the prior's without.
    """

    def __init__(
        self,
        candidates: Features,
        width: int,
        prior: Prior,
        hyperparameters: Floats | None = None,
    ) -> None:
        self._kernel = _Kernel(prior)
        self._theta = torch.as_tensor(
            self._kernel.means if hyperparameters is None else hyperparameters
        )
        self._candidates = self._kernel.prepare(candidates)
        self._width = width
        blocks = len(candidates) // width
        self.mean = self._candidates.mean.numpy().reshape(blocks, width).copy()
        with torch.no_grad():
            self.covariance = self._kernel.blocks(self._candidates, width, self._theta).numpy()
        self._observed = self._candidates.first(0)
        self._factor = np.zeros((0, 0))
        self._whitened = np.zeros((0, len(candidates)))
        self._residuals = np.zeros(0)

    def observe(self, features: Features, values: Floats, noise: Floats) -> None:
        """Condition on trials.

        Args:
            features: What was tried, ``(n,)`` configurations.
            values: Transformed accuracies, ``(n,)``.
            noise: Variances of the noise, ``(n,)``.
        """
        if len(features):
            expected, lower = self._extend(features, noise)
            residuals = _solve_lower(lower, values - expected)
            self._residuals = np.concatenate([self._residuals, residuals])
            added = self._whitened[-len(features) :]
            self.mean = self.mean + (residuals @ added).reshape(self.mean.shape)

    def believe(self, features: Features, noise: Floats) -> Floats:
        """Condition on trials that are under way, as if they came out as expected.

        Returns:
            The expected values, ``(n,)``.
        """
        expected, _ = self._extend(features, noise)
        self._residuals = np.concatenate([self._residuals, np.zeros(len(features))])
        return expected

    def _extend(self, features: Features, noise: Floats) -> tuple[Floats, Floats]:
        """Take the places of trials in, without their values; returns the expected values and the
        new corner of the Cholesky factor."""
        new = self._kernel.prepare(features)
        with torch.no_grad():
            across = self._kernel.between(new, self._candidates, self._theta).numpy()
            own = self._kernel.between(new, new, self._theta).numpy()
            before = self._kernel.between(self._observed, new, self._theta).numpy()
        known, count = len(self._factor), len(features)
        part = _solve_lower(self._factor, before).T if known else np.zeros((count, 0))
        corner = _cholesky(own - part @ part.T + np.diag(noise + JITTER))
        lower = np.zeros((known + count, known + count))
        lower[:known, :known] = self._factor
        lower[known:, :known] = part
        lower[known:, known:] = corner
        added = _solve_lower(corner, across - part @ self._whitened)
        self._factor = lower
        self._whitened = np.concatenate([self._whitened, added])
        self._observed = self._observed.followed_by(new)
        blocks = added.reshape(count, -1, self._width)
        self.covariance = self.covariance - np.einsum("nbi,nbj->bij", blocks, blocks)
        expected: Floats = new.mean.numpy() + part @ self._residuals
        return expected, corner

    def samples(self, normals: Floats) -> Floats:
        """Joint samples within each block.

        Args:
            normals: Standard normal numbers, ``(samples, width)``, the same for all blocks.

        Returns:
            Transformed accuracies, ``(samples, blocks, width)``.
        """
        spread = np.einsum("bii->b", self.covariance) / self._width
        ridge = (JITTER + 1e-4 * np.maximum(spread, 0.0))[:, None, None] * np.eye(self._width)
        lower = np.linalg.cholesky(self.covariance + ridge)
        drawn: Floats = self.mean + np.einsum("bij,sj->sbi", lower, normals)
        return drawn


def fit(features: Features, values: Floats, noise: Floats, prior: Prior) -> Floats:
    """Hyperparameters that explain the trials best, under the prior (MAP).

    Args:
        features: What was tried, ``(n,)`` configurations.
        values: Transformed accuracies, ``(n,)``.
        noise: Variances of their noise, ``(n,)``.
        prior: The prior.
    """
    if len(features) > LARGEST_FIT:
        kept = np.unique(np.linspace(0, len(features) - 1, LARGEST_FIT).astype(int))
        features, values, noise = features.take(kept), values[kept], noise[kept]
    kernel = _Kernel(prior)
    data = kernel.prepare(features)
    residual = torch.as_tensor(values) - data.mean
    variances = torch.as_tensor(noise + JITTER)
    means, spread = torch.as_tensor(kernel.means), kernel.spread

    def loss(theta: Floats) -> tuple[float, Floats]:
        at = torch.tensor(theta, requires_grad=True)
        covariance = kernel.between(data, data, at) + torch.diag(variances)
        lower, failed = torch.linalg.cholesky_ex(covariance)
        if failed:
            return 1e10, np.zeros_like(theta)
        solved = torch.linalg.solve_triangular(lower, residual[:, None], upper=False)
        value = (
            0.5 * solved.square().sum()
            + lower.diagonal().log().sum()
            + 0.5 * ((at - means) / spread).square().sum()
        )
        value.backward()
        assert at.grad is not None
        return value.item(), at.grad.numpy()

    found = minimize(
        loss, kernel.means, jac=True, method="L-BFGS-B", options={"maxiter": FIT_ITERATIONS}
    )
    fitted: Floats = found.x
    return fitted


@dataclass(frozen=True)
class _Prepared:
    """Features as tensors, with the bases of the trends."""

    trained: torch.Tensor
    lost: torch.Tensor
    run: torch.Tensor
    basis: torch.Tensor
    mean: torch.Tensor

    def first(self, count: int) -> _Prepared:
        return self._each(lambda part, _: part[:count], self)

    def followed_by(self, other: _Prepared) -> _Prepared:
        return self._each(lambda part, more: torch.cat([part, more]), other)

    def in_blocks(self, width: int) -> _Prepared:
        blocks = len(self.run) // width
        return self._each(lambda part, _: part.reshape(blocks, width, *part.shape[1:]), self)

    def _each(
        self, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], other: _Prepared
    ) -> _Prepared:
        mine, others = vars(self), vars(other)
        return _Prepared(**{name: change(part, others[name]) for name, part in mine.items()})


class _Kernel:
    """The covariance.

    Its hyperparameters are logarithms, in this order: deviations of ``trained``, of ``lost`` and
    of a run; the distance over which losses are alike; the length scales of the coordinates.
    """

    def __init__(self, prior: Prior) -> None:
        self._prior = prior
        self._p = len(prior.trained_scales)
        scales = np.concatenate([[prior.alike], prior.trained_scales, prior.lost_scales])
        self.means: Floats = np.log(np.concatenate([prior.deviations, scales]))
        self.spread = torch.tensor([0.6] * 3 + [0.5] * len(scales), dtype=torch.float64)

    def prepare(self, features: Features) -> _Prepared:
        trained, lost = torch.as_tensor(features.trained), torch.as_tensor(features.lost)
        columns, means, deviations = [torch.ones(len(trained), dtype=torch.float64)], [], []
        means.append(self._prior.level[0])
        deviations.append(self._prior.level[1])
        for index, (mean, deviation) in enumerate(self._prior.slopes):
            columns.append(trained[:, index])
            means.append(mean)
            deviations.append(deviation)
        for loss in self._prior.losses:
            amount = lost[:, loss.coordinate] ** loss.power
            columns += [amount, amount * trained[:, loss.milder_along]]
            means += [loss.mean, loss.milder_mean]
            deviations += [loss.deviation, loss.milder_deviation]
        basis = torch.stack(columns, 1)
        return _Prepared(
            trained,
            lost,
            torch.as_tensor(features.run),
            basis * torch.tensor(deviations, dtype=torch.float64),
            basis @ torch.tensor(means, dtype=torch.float64),
        )

    def between(self, a: _Prepared, b: _Prepared, theta: torch.Tensor) -> torch.Tensor:
        """Covariances, ``(..., len(a), len(b))``, over shared leading dimensions."""
        scale = torch.exp(theta)
        of_trained, of_lost, of_run, alike = scale[:4]
        near = _gaussian(a.trained / scale[4 : 4 + self._p], b.trained / scale[4 : 4 + self._p])
        similar = 0.5 + 0.5 * _gaussian(a.trained / alike, b.trained / alike)
        lost_a, lost_b = a.lost / scale[4 + self._p :], b.lost / scale[4 + self._p :]
        # Conditioned on being zero where nothing is compressed.
        from_a = torch.exp(-0.5 * lost_a.square().sum(-1))
        from_b = torch.exp(-0.5 * lost_b.square().sum(-1))
        pinned = _gaussian(lost_a, lost_b) - from_a[..., :, None] * from_b[..., None, :]
        same_run = a.run[..., :, None] == b.run[..., None, :]
        trend = a.basis @ b.basis.transpose(-1, -2)
        covariance: torch.Tensor = (
            trend
            + of_trained**2 * near
            + of_lost**2 * pinned * similar
            + of_run**2 * same_run.to(torch.float64)
        )
        return covariance

    def blocks(self, data: _Prepared, width: int, theta: torch.Tensor) -> torch.Tensor:
        """Covariances within blocks, ``(blocks, width, width)``."""
        shaped = data.in_blocks(width)
        return self.between(shaped, shaped, theta)


def _gaussian(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``exp(-|x - y|^2 / 2)`` between the rows of a and b."""
    products = a @ b.transpose(-1, -2)
    squares = a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :] - 2 * products
    return torch.exp(-0.5 * squares.clamp_min(0.0))


def _cholesky(matrix: Floats) -> Floats:
    factor: Floats = np.linalg.cholesky(matrix).astype(np.float64)
    return factor


def _solve_lower(lower: Floats, right: Floats) -> Floats:
    solved: Floats = solve_triangular(lower, right, lower=True, check_finite=False)
    return solved
