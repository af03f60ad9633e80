"""The Gaussian process against scikit-learn's, and against its own definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.gaussian_process.kernels import Kernel as SklearnKernel

from search.samplers.frontier.prior import PRIOR
from search.samplers.gp.gaussian_process import GaussianProcessMixture
from search.samplers.gp.hyperparameters import sample_hyperparameters
from search.samplers.gp.kernel import JITTER, Features, Kernel
from search.samplers.gp.outcome_transform import OutcomeTransform
from tests.search.samplers.spaces import grid

TRAINING, COMPRESSION = 5, 4
"""Features of training and of compression; the columns of an oracle's input, before the run."""


def trends(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prior mean of each row, and its basis functions times the deviations of their weights."""
    training, compression = inputs[:, :TRAINING], inputs[:, TRAINING:-1]
    terms = [(np.ones(len(inputs)), *PRIOR.level)]
    terms += [(x, *slope) for x, slope in zip(training.T, PRIOR.slopes, strict=True)]
    for trend in PRIOR.compression_trends:
        amount = compression[:, trend.feature] ** trend.power
        product = amount * training[:, trend.interacts_with]
        terms.append((amount, trend.mean, trend.deviation))
        terms.append((product, trend.interaction_mean, trend.interaction_deviation))
    mean = np.sum([x * mean for x, mean, _ in terms], axis=0)
    return mean, np.stack([x * deviation for x, _, deviation in terms], 1)


class OracleKernel(SklearnKernel):  # type: ignore[misc]
    """The kernel as its documentation defines it, made of scikit-learn's RBF."""

    def __init__(self, logarithms: np.ndarray) -> None:
        self.logarithms = logarithms

    def __call__(
        self, a: np.ndarray, b: np.ndarray | None = None, eval_gradient: bool = False
    ) -> np.ndarray:
        b = a if b is None else b
        deviation, of_compression, of_run, _, similarity, *scales = np.exp(self.logarithms)
        near, alike = RBF(scales[:TRAINING]), RBF(similarity)
        pinned, nothing = RBF(scales[TRAINING:]), np.zeros((1, COMPRESSION))
        (t, c), (u, d) = ((x[:, :TRAINING], x[:, TRAINING:-1]) for x in (a, b))
        smooth = of_compression**2 * (pinned(c, d) - pinned(c, nothing) @ pinned(nothing, d))
        covariance: np.ndarray = trends(a)[1] @ trends(b)[1].T
        covariance = covariance + deviation**2 * near(t, u) + smooth * (1 + alike(t, u)) / 2
        return covariance + of_run**2 * (a[:, -1:] == b[:, -1:].T)

    def diag(self, inputs: np.ndarray) -> np.ndarray:
        return np.diag(self(inputs))

    def is_stationary(self) -> bool:
        return False


def inputs_of(features: Features) -> np.ndarray:
    return np.column_stack([features.training, features.compression, features.run])


class Oracle:
    """scikit-learn's posterior, given trials with known noise."""

    def __init__(
        self, theta: np.ndarray, trials: Features, values: np.ndarray, noise: np.ndarray
    ) -> None:
        variances = noise * np.exp(2 * theta[3]) + JITTER
        self._regressor = GaussianProcessRegressor(
            OracleKernel(theta), alpha=variances, optimizer=None
        )
        inputs = inputs_of(trials)
        self._regressor.fit(inputs, values - trends(inputs)[0])

    def predict(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        inputs = inputs_of(features)
        mean, covariance = self._regressor.predict(inputs, return_cov=True)
        return mean + trends(inputs)[0], covariance


def within_blocks(covariance: np.ndarray, width: int) -> np.ndarray:
    blocks = covariance.reshape(-1, width, len(covariance) // width, width)
    return np.einsum("iaib->iab", blocks)


def small_noise(values: np.ndarray) -> np.ndarray:
    return np.full(values.shape, 1e-3)


def sampled_from_prior(rng: np.random.Generator) -> np.ndarray:
    kernel = Kernel(PRIOR)
    theta: np.ndarray = rng.normal(kernel.prior_means, kernel.prior_deviations)
    return theta


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999))
def test_mean_and_covariance_are_those_of_scikit_learn_after_each_block(seed: int) -> None:
    everything, width = grid()
    rng = np.random.default_rng(seed)
    theta = sampled_from_prior(rng)
    order = rng.permutation(len(everything))[:9]
    values, noise = rng.standard_normal(9), rng.uniform(1e-3, 1e-1, 9)
    mixture = GaussianProcessMixture(everything, width, PRIOR, [theta])
    for first, last in ((0, 1), (1, 5), (5, 9)):
        block = everything.take(order[first:last])
        mixture.observe(block, values[first:last], noise[first:last])
        oracle = Oracle(theta, everything.take(order[:last]), values[:last], noise[:last])
        mean, covariance = oracle.predict(everything)
        assert mixture.posterior.mean.ravel() == pytest.approx(mean, abs=1e-6)
        found = mixture.posterior.covariances[0]
        assert found == pytest.approx(within_blocks(covariance, width), abs=1e-6)
        predicted, variance = mixture.predict(everything)
        assert predicted == pytest.approx(mean, abs=1e-6)
        assert variance == pytest.approx(np.diag(covariance), abs=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999))
def test_pending_trials_are_observed_at_their_means(seed: int) -> None:
    everything, width = grid()
    rng = np.random.default_rng(seed)
    theta = sampled_from_prior(rng)
    order = rng.permutation(len(everything))[:8]
    values, noise = rng.standard_normal(4), rng.uniform(1e-3, 1e-1, 4)
    mixture = GaussianProcessMixture(everything, width, PRIOR, [theta])
    mixture.set_pending(everything.take(order[[4, 5, 6]]))
    mixture.observe(everything.take(order[:4]), values, noise)
    mixture.set_pending(everything.take(order[[7]]), kept=[0, 2])
    posterior, expected = mixture.with_pending(small_noise)

    pending = everything.take(order[[4, 6, 7]])
    mean, _ = Oracle(theta, everything.take(order[:4]), values, noise).predict(pending)
    assert expected == pytest.approx(mean, abs=1e-6)
    oracle = Oracle(
        theta,
        everything.take(order[[0, 1, 2, 3, 4, 6, 7]]),
        np.concatenate([values, mean]),
        np.concatenate([noise, small_noise(mean)]),
    )
    mean, covariance = oracle.predict(everything)
    assert posterior.mean.ravel() == pytest.approx(mean, abs=1e-6)
    found = posterior.covariances[0]
    assert found == pytest.approx(within_blocks(covariance, width), abs=1e-6)


def test_trials_one_by_one_or_together_give_the_same_posterior() -> None:
    everything, width = grid()
    observed = everything.take(np.array([0, 3, 9, 14]))
    values, noise = np.array([-1.0, -1.3, -0.8, -0.7]), np.full(4, 1e-3)
    together, one_by_one = (GaussianProcessMixture(everything, width, PRIOR) for _ in range(2))
    together.observe(observed, values, noise)
    for k in range(4):
        one_by_one.observe(observed.take(np.array([k])), values[k : k + 1], noise[k : k + 1])
    assert one_by_one.posterior.mean == pytest.approx(together.posterior.mean, abs=1e-8)
    assert one_by_one.posterior.variance == pytest.approx(together.posterior.variance, abs=1e-8)


def test_an_observation_determines_its_value_and_narrows_similar_ones() -> None:
    everything, width = grid()
    mixture = GaussianProcessMixture(everything, width, PRIOR)
    before = mixture.posterior.variance
    mixture.observe(everything.take(np.array([0])), np.array([-0.5]), np.array([1e-6]))
    after = mixture.posterior.variance
    assert mixture.posterior.mean[0, 0] == pytest.approx(-0.5, abs=1e-3)
    assert after[0, 0] < 1e-4
    assert (after < before).all()
    # The same model at eight bits is all but known, another architecture is not.
    assert after[0, 1] < 0.1 * after[4, 1]


def test_a_pending_trial_reduces_variance_and_keeps_the_mean() -> None:
    everything, width = grid()
    mixture = GaussianProcessMixture(everything, width, PRIOR)
    mixture.observe(everything.take(np.array([0])), np.array([-0.5]), np.array([1e-3]))
    before = mixture.posterior
    mixture.set_pending(everything.take(np.array([9])))
    then, expected = mixture.with_pending(small_noise)
    assert expected == pytest.approx(before.mean.ravel()[[9]])
    assert then.mean == pytest.approx(before.mean)
    assert then.variance[2, 1] < 0.1 * before.variance[2, 1]
    assert mixture.posterior.variance == pytest.approx(before.variance)


def test_updated_pending_trials_equal_those_of_a_fresh_mixture() -> None:
    everything, width = grid()
    drawn = sample_hyperparameters(
        everything.take(np.array([0, 5])), np.array([-1.0, -0.7]), np.full(2, 1e-3), PRIOR, count=3,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    updated, fresh = (GaussianProcessMixture(everything, width, PRIOR, drawn) for _ in range(2))

    def observe(mixture: GaussianProcessMixture, index: int, value: float) -> None:
        candidate = everything.take(np.array([index]))
        mixture.observe(candidate, np.array([value]), np.array([1e-3]))

    updated.set_pending(everything.take(np.array([9, 14])))
    observe(updated, 0, -1.0)
    updated.set_pending(everything.take(np.array([3, 20])), [1])
    observe(updated, 9, -0.8)
    observe(updated, 22, -0.6)
    updated.set_pending(everything.take(np.array([], dtype=np.int64)), [0, 2])
    for index, value in ((0, -1.0), (9, -0.8), (22, -0.6)):
        observe(fresh, index, value)
    fresh.set_pending(everything.take(np.array([14, 20])))
    (posterior, values), (wanted, wanted_values) = (
        each.with_pending(small_noise) for each in (updated, fresh)
    )
    assert values == pytest.approx(wanted_values, abs=1e-8)
    assert posterior.mean == pytest.approx(wanted.mean, abs=1e-8)
    assert posterior.variance == pytest.approx(wanted.variance, abs=1e-8)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 99))
def test_sampled_hyperparameters_predict_better_than_those_of_the_prior(seed: int) -> None:
    everything, width = grid()
    rng = np.random.default_rng(seed)
    values = -1.0 + 0.8 * rng.standard_normal(len(everything))
    noise = np.full(len(values), 1e-3)
    held_out = np.arange(0, len(values), 3)
    rest = np.setdiff1d(np.arange(len(values)), held_out)
    observed = everything.take(rest)
    drawn = sample_hyperparameters(observed, values[rest], noise[rest], PRIOR, count=4, rng=rng)

    def log_loss(hyperparameters: list[np.ndarray] | None) -> float:
        mixture = GaussianProcessMixture(everything, width, PRIOR, hyperparameters)
        mixture.observe(observed, values[rest], noise[rest])
        variance = mixture.posterior.variance.ravel()[held_out]
        errors = (values - mixture.posterior.mean.ravel())[held_out]
        return float(np.mean(0.5 * errors**2 / variance + 0.5 * np.log(variance)))

    assert log_loss(drawn) < log_loss(None)


def test_hyperparameters_without_trials_follow_their_prior() -> None:
    everything, _ = grid()
    nothing = everything.take(np.array([], dtype=np.int64))
    rng = np.random.default_rng(0)
    drawn = np.array(
        sample_hyperparameters(nothing, np.zeros(0), np.zeros(0), PRIOR, count=400, rng=rng)
    )
    kernel = Kernel(PRIOR)
    assert drawn.mean(0) == pytest.approx(kernel.prior_means, abs=0.25)
    assert drawn.std(0) == pytest.approx(kernel.prior_deviations, rel=0.25)


def test_samples_have_the_moments_of_the_mixture() -> None:
    everything, width = grid()
    rng = np.random.default_rng(0)
    observed, values = everything.take(np.array([0, 9, 14])), np.array([-1.0, -0.8, -0.7])
    noise = np.full(3, 1e-3)
    mixture = GaussianProcessMixture(
        everything,
        width,
        PRIOR,
        sample_hyperparameters(observed, values, noise, PRIOR, count=3, rng=rng),
    )
    mixture.observe(observed, values, noise)
    drawn = mixture.posterior.samples(rng.standard_normal((4000, width)))
    assert drawn.shape == (3 * 4000, *mixture.posterior.mean.shape)
    assert drawn.mean(0) == pytest.approx(mixture.posterior.mean, abs=0.05)
    assert drawn.var(0) == pytest.approx(mixture.posterior.variance, rel=0.1, abs=1e-3)


def test_noise_is_the_recorded_error_of_a_quality() -> None:
    qualities, errors = np.array([0.4, 0.6, 0.8]), np.array([0.01, 0.02, np.nan])
    transform = OutcomeTransform.fit(qualities, errors, 0.1)
    values = transform.values(qualities)
    deviations = np.sqrt(transform.noise(values, errors))
    low, high = (transform.quality(values + sign * deviations) for sign in (-1, 1))
    assert (high - low) / 2 == pytest.approx([0.01, 0.02, 0.015])
    assert np.sqrt(transform.noise(values)) * transform.range == pytest.approx([0.015] * 3)


def test_without_recorded_errors_noise_is_binomial() -> None:
    transform = OutcomeTransform.fit(np.array([0.4, 0.8]), np.array([np.nan] * 2), 0.1)
    noise = transform.noise(transform.values(np.array([0.7])))
    assert np.sqrt(noise) * transform.range == pytest.approx(np.sqrt(0.7 * 0.3 / 1000))


def test_a_broken_model_does_not_make_the_others_look_alike() -> None:
    good = np.array([0.3, 0.4, 0.5])
    with_broken = OutcomeTransform.fit(np.array([*good, -3.0]), np.full(4, np.nan), 0.0)
    assert with_broken.values(good) == pytest.approx(
        OutcomeTransform.fit(good, np.full(3, np.nan), 0.0).values(good)
    )
    assert with_broken.lowest == 0.0
