"""Scores of a user's own task, from what it measured on each example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from objectives.measurement.class_scores import accuracy_score
from objectives.measurement.intervals import Floats, Groups, error_of_mean
from objectives.measurement.score import BOOTSTRAP_SAMPLES, Score, perplexity_score


def score_of_examples(
    metric: str,
    scores: Floats,
    groups: Groups,
    loss: float,
    statistic: Callable[[Floats], float] | None = None,
) -> Score:
    """The score of a split with its 95 % interval.

    Args:
        metric: Its name.
        scores: Of each example, ``(examples, ...)``.
        groups: The group of each example, of at least two.
        loss: Mean of the loss.
        statistic: What the score is of the examples, where it is neither their mean nor that of
            ``metric``; its interval is that of a bootstrap of the groups (Field and Welsh 2007).
    """
    if statistic is not None:
        return _bootstrapped(scores, groups, loss, statistic)
    if metric == "perplexity":
        return replace(perplexity_score(scores.tolist(), groups, len(scores)), loss=loss)
    if metric == "accuracy" and np.isin(scores, (0.0, 1.0)).all():
        return accuracy_score(scores == 1.0, groups, loss)
    mean = float(np.mean(scores))
    error, quantile = error_of_mean(scores, groups)
    return Score(mean, mean - quantile * error, mean + quantile * error, len(scores), loss)


def _bootstrapped(
    scores: Floats, groups: Groups, loss: float, statistic: Callable[[Floats], float]
) -> Score:
    value = statistic(scores)
    _, index = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(index == group) for group in range(index.max() + 1)]
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(BOOTSTRAP_SAMPLES):
        drawn = rng.integers(len(members), size=len(members))
        samples.append(statistic(scores[np.concatenate([members[group] for group in drawn])]))
    low, high = np.quantile(samples, (0.025, 0.975))
    return Score(value, min(value, float(low)), max(value, float(high)), len(scores), loss)
