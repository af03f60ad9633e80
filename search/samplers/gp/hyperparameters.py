"""Samples of the kernel's hyperparameters, given some trials.

After a dozen trials many hyperparameters are plausible, and the most likely ones alone give
overconfident predictions; so several are sampled from their posterior, and the predictions mixed.
Elliptical slice sampling needs only the likelihood and has no settings (Murray, Adams & MacKay
2010, arXiv 1001.0175; for covariances: Murray & Adams 2010, arXiv 1006.0868).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from search.arrays import Floats, cholesky, solve_lower
from search.samplers.gp.kernel import Features, Kernel, Prior

BURN_IN = 40
THINNING = 5
LARGEST_FIT = 160
"""Observations that the likelihood is computed from; more cost time and change little."""
LONGEST_SEARCH = 50
"""Points of an ellipse that are tried in one step."""

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
    """Sample hyperparameters from their posterior.

    Args:
        features: The observed configurations, ``(n,)``.
        values: Their transformed qualities, ``(n,)``.
        noise: Variances of their noise up to a factor, ``(n,)``.
        count: Number of samples.

    Returns:
        ``count`` vectors of hyperparameters, as ``Kernel`` takes them.
    """
    if len(features) > LARGEST_FIT:
        kept = np.unique(np.linspace(0, len(features) - 1, LARGEST_FIT).astype(int))
        features, values, noise = features.take(kept), values[kept], noise[kept]
    kernel = Kernel(prior)
    likelihood = _likelihood(kernel, features, values, noise)
    theta, level = kernel.prior_means, likelihood(kernel.prior_means)
    samples = []
    for step in range(BURN_IN + THINNING * (count - 1) + 1):
        theta, level = _slice_step(theta, level, kernel, likelihood, rng)
        if step >= BURN_IN and (step - BURN_IN) % THINNING == 0:
            samples.append(theta)
    return samples


def _likelihood(kernel: Kernel, features: Features, values: Floats, noise: Floats) -> Likelihood:
    """Log marginal likelihood of hyperparameters (Rasmussen & Williams 2006, section 5.4)."""
    data = kernel.prepare(features)
    residual = values - data.mean

    def likelihood(theta: Floats) -> float:
        if not len(values):
            return 0.0
        covariance = kernel.covariance(data, data, theta)
        covariance[np.diag_indices(len(values))] += kernel.diagonal(noise, theta)
        try:
            lower = cholesky(covariance)
        except np.linalg.LinAlgError:
            return -np.inf
        whitened = solve_lower(lower, residual)
        return float(-0.5 * whitened @ whitened - np.log(lower.diagonal()).sum())

    return likelihood


def _slice_step(
    theta: Floats, level: float, kernel: Kernel, likelihood: Likelihood, rng: np.random.Generator
) -> tuple[Floats, float]:
    """One step of the chain, to a point of the ellipse through theta and a sample of the prior."""
    means = kernel.prior_means
    other = kernel.prior_deviations * rng.standard_normal(len(theta))
    threshold = level + np.log(rng.random())
    angle = rng.uniform(0.0, 2.0 * np.pi)
    low, high = angle - 2.0 * np.pi, angle
    for _ in range(LONGEST_SEARCH):
        moved = means + (theta - means) * np.cos(angle) + other * np.sin(angle)
        reached = likelihood(moved)
        if reached > threshold:
            return moved, reached
        low, high = (angle, high) if angle < 0.0 else (low, angle)
        angle = rng.uniform(low, high)
    return theta, level
