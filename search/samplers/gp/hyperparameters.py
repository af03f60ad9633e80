"""Hyperparameters of the surrogate that could have given the trials.

With a dozen trials many could, and the best of them alone is far too sure of itself; so several
are drawn, each in proportion to how well it explains the trials, and the surrogate mixes them.
Elliptical slice sampling needs only the likelihood and has nothing to tune (Murray, Adams & MacKay
2010, arXiv 1001.0175; for covariances: Murray & Adams 2010, arXiv 1006.0868).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from search.arrays import Floats, cholesky, solve_lower
from search.samplers.gp.kernel import Features, Kernel, Prior

JITTER = 1e-6
BURN_IN = 40
THINNING = 5
LARGEST_FIT = 160
"""History that hyperparameters are drawn from; more cost time and change little."""
LONGEST_SEARCH = 50

Likelihood = Callable[[Floats], float]


def sample_hyperparameters(
    features: Features,
    values: Floats,
    noise: Floats,
    prior: Prior,
    *,
    count: int,
    rng: np.random.Generator,
) -> list[Floats]:
    """Draw hyperparameters from their distribution given some trials.

    Args:
        features: What was tried, ``(n,)`` configurations.
        values: Transformed qualities, ``(n,)``.
        noise: Variances of their noise, ``(n,)``, right up to a factor.
        prior: The prior.
        count: How many to draw.
        rng: Source of the draws.

    Returns:
        Hyperparameters as ``Kernel`` takes them, ``count`` of them.
    """
    if len(features) > LARGEST_FIT:
        kept = np.unique(np.linspace(0, len(features) - 1, LARGEST_FIT).astype(int))
        features, values, noise = features.take(kept), values[kept], noise[kept]
    kernel = Kernel(prior)
    likelihood = _likelihood(kernel, features, values, noise)
    theta, level = kernel.prior_means, likelihood(kernel.prior_means)
    drawn = []
    for step in range(BURN_IN + THINNING * (count - 1) + 1):
        theta, level = _step(theta, level, kernel, likelihood, rng)
        if step >= BURN_IN and (step - BURN_IN) % THINNING == 0:
            drawn.append(theta)
    return drawn


def _likelihood(kernel: Kernel, features: Features, values: Floats, noise: Floats) -> Likelihood:
    """Log marginal likelihood of hyperparameters (Rasmussen & Williams 2006, section 5.4)."""
    data = kernel.prepare(features)
    residual = values - data.mean
    diagonal = np.diag_indices(len(values))

    def likelihood(theta: Floats) -> float:
        if not len(values):
            return 0.0
        covariance = kernel.covariance(data, data, theta)
        covariance[diagonal] += kernel.noise(noise, theta) + JITTER
        try:
            lower = cholesky(covariance)
        except np.linalg.LinAlgError:
            return -np.inf
        whitened = solve_lower(lower, residual)
        return float(-0.5 * whitened @ whitened - np.log(lower.diagonal()).sum())

    return likelihood


def _step(
    theta: Floats, level: float, kernel: Kernel, likelihood: Likelihood, rng: np.random.Generator
) -> tuple[Floats, float]:
    """One step of the chain: somewhere on an ellipse through the last draw and one of the prior."""
    other = kernel.prior_deviations * rng.standard_normal(len(theta))
    least = level + np.log(rng.random())
    angle = rng.uniform(0.0, 2.0 * np.pi)
    low, high = angle - 2.0 * np.pi, angle
    for _ in range(LONGEST_SEARCH):
        moved = (
            kernel.prior_means
            + (theta - kernel.prior_means) * np.cos(angle)
            + other * np.sin(angle)
        )
        reached = likelihood(moved)
        if reached > least:
            return moved, reached
        low, high = (angle, high) if angle < 0.0 else (low, angle)
        angle = rng.uniform(low, high)
    return theta, level
