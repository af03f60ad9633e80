"""The ``frontier`` sampler where it knows nothing of the space: any Optuna study.

A Gaussian process for each objective, and the expected improvement of a scalarisation with random
weights (ParEGO: Knowles 2006, *IEEE Transactions on Evolutionary Computation* 10(1); with one
objective it is plain expected improvement).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.arrays import Floats
from search.samplers.gp.gaussian_process import GaussianProcessMixture
from search.samplers.gp.hyperparameters import sample_hyperparameters
from search.samplers.gp.kernel import Features, Prior
from search.samplers.gp.threads import one_thread

START = 10
"""Trials at random before the first model."""
RANDOM_CANDIDATES = 384
NEAR_CANDIDATES = 128
NEAR = 0.1
LARGEST_HISTORY = 200
SAMPLES = 32
NOISE = 1e-4
AUGMENTATION = 0.05
RANGE = 4.0
"""Length of each dimension, in the unit of the prior's length scales."""


def propose(
    study: optuna.Study,
    trial: FrozenTrial,
    search_space: dict[str, BaseDistribution],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Parameters for a trial, from what the study's other trials have shown.

    Args:
        study: The study.
        trial: The trial; others that run are taken to come out as expected.
        search_space: What to choose.
        rng: Source of candidates and weights.

    Returns:
        A value for every parameter; random ones while there are too few trials to learn from.
    """
    complete = [t for t in _with(search_space, study, TrialState.COMPLETE) if _is_finite(t)]
    transform = _SearchSpaceTransform(search_space, transform_0_1=True)
    if len(complete) < START:
        return transform.untransform(rng.uniform(*transform.bounds.T))
    running = [
        t for t in _with(search_space, study, TrialState.RUNNING) if t._trial_id != trial._trial_id
    ]
    places = _encoded(transform, complete)
    values = _maximised(study, complete)
    candidates = _candidates(places, values, transform, rng)
    prior = _prior(candidates.shape[1])
    pending = _encoded(transform, running)
    with one_thread():
        drawn = np.stack(
            [_samples(places, column, pending, candidates, prior, rng) for column in values.T], 2
        )
    weights = rng.dirichlet(np.ones(values.shape[1]))
    best = _scalarised(values, weights).max()
    gain = np.maximum(_scalarised(drawn, weights) - best, 0.0).mean(0)
    return transform.untransform(candidates[int(gain.argmax())])


def _with(
    search_space: dict[str, BaseDistribution], study: optuna.Study, state: TrialState
) -> list[FrozenTrial]:
    trials = study.get_trials(deepcopy=False, states=(state,))
    # The latest: what came long before has told what it could.
    return [t for t in trials if search_space.keys() <= t.params.keys()][-LARGEST_HISTORY:]


def _is_finite(trial: FrozenTrial) -> bool:
    return bool(np.isfinite(trial.values).all())


def _encoded(transform: _SearchSpaceTransform, trials: list[FrozenTrial]) -> Floats:
    width = len(transform.bounds)
    return np.array([transform.transform(t.params) for t in trials]).reshape(-1, width)


def _maximised(study: optuna.Study, trials: list[FrozenTrial]) -> Floats:
    """Standardised values, larger is better, ``(trials, objectives)``."""
    signs = [1.0 if d == StudyDirection.MAXIMIZE else -1.0 for d in study.directions]
    values = np.array([t.values for t in trials]) * signs
    standardised: Floats = (values - values.mean(0)) / np.maximum(values.std(0), 1e-12)
    return standardised


def _candidates(
    places: Floats, values: Floats, transform: _SearchSpaceTransform, rng: np.random.Generator
) -> Floats:
    """Random places, and places near the best of each objective."""
    low, high = transform.bounds.T
    anywhere = rng.uniform(low, high, (RANDOM_CANDIDATES, len(low)))
    good = places[np.argsort(-values, axis=0)[:8].ravel()]
    near = good[rng.integers(len(good), size=NEAR_CANDIDATES)]
    near = near + NEAR * rng.standard_normal(near.shape) * (high - low)
    clipped: Floats = np.clip(np.concatenate([anywhere, near]), low, high)
    return clipped


def _samples(
    places: Floats,
    values: Floats,
    running: Floats,
    candidates: Floats,
    prior: Prior,
    rng: np.random.Generator,
) -> Floats:
    """Samples of one objective at the candidates, ``(samples, candidates)``."""
    data, noise = _features(places, 0), np.full(len(places), NOISE)
    hyperparameters = sample_hyperparameters(data, values, noise, prior, count=1, rng=rng)
    surrogate = GaussianProcessMixture(
        _features(candidates, len(places)), 1, prior, hyperparameters
    )
    surrogate.observe(data, values, noise)
    surrogate.set_pending(_features(running, len(places) + len(candidates)))
    posterior, _ = surrogate.with_pending(lambda values: np.full(values.shape, NOISE))
    return posterior.samples(rng.standard_normal((SAMPLES, 1)))[:, :, 0]


def _features(places: Floats, first_run: int) -> Features:
    runs = np.arange(first_run, first_run + len(places))
    return Features(RANGE * (places - 0.5), np.zeros((len(places), 0)), runs)


def _prior(dimensions: int) -> Prior:
    return Prior(
        level=(0.0, 1.0),
        slopes=((0.0, 0.3),) * dimensions,
        compression_trends=(),
        training_length_scales=(2.0,) * dimensions,
        compression_length_scales=(),
        deviations=(0.7, 0.1, 0.1),
    )


def _scalarised(values: Floats, weights: Floats) -> Floats:
    """Augmented Chebyshev scalarisation, over the last axis."""
    weighted = values * weights
    scalar: Floats = weighted.min(-1) + AUGMENTATION * weighted.sum(-1)
    return scalar
