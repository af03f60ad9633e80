"""Scores of predicted numbers with their intervals: correlations and the mean squared error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from scipy.stats import rankdata

from objectives.data.batches import Batch
from objectives.measurement.example_scores import score_of_examples
from objectives.measurement.intervals import Floats, Groups
from objectives.measurement.score import Predict, Score
from objectives.store import heartbeat
from spaces.cost.metric import MetricName


def score_numbers(
    predict: Predict,
    batches: Iterable[Batch],
    groups: Groups,
    metric: MetricName,
    *,
    deviation: float,
) -> Score:
    """Score and mean squared error of the outputs ``(batch, 1)`` for batches with ``labels``, both
    standardised; its interval is that of a bootstrap of the groups.

    Args:
        groups: The group of each example, in the order of the batches.
        metric: ``spearman``, ``pearson`` or ``rmse``.
        deviation: That of the training labels, in whose unit the error is.
    """
    pairs: list[Floats] = []
    with torch.inference_mode():
        for batch in batches:
            heartbeat.beat("scoring")
            both = predict(batch).squeeze(-1).cpu(), batch["labels"].cpu()
            pairs.append(torch.stack([each.double() for each in both], dim=1).numpy())
    found = np.concatenate(pairs)
    loss = float(np.mean((found[:, 0] - found[:, 1]) ** 2))
    if metric == "rmse":
        return score_of_examples(metric, deviation * found, groups, loss, rmse)
    return score_of_examples(metric, found, groups, loss, CORRELATIONS[metric])


def pearson(pairs: Floats) -> float:
    """Pearson's correlation of two columns ``(examples, 2)``; 0 where one of them is constant."""
    one, other = (pairs - pairs.mean(0)).T
    product = math.sqrt(float(one @ one) * float(other @ other))
    return min(1.0, max(-1.0, float(one @ other) / product)) if product > 0.0 else 0.0


def spearman(pairs: Floats) -> float:
    """Spearman's rank correlation of two columns: Pearson's of their ranks, ties averaged."""
    return pearson(rankdata(pairs, axis=0))


def rmse(pairs: Floats) -> float:
    """Root of the mean squared difference of two columns."""
    return math.sqrt(float(np.mean((pairs[:, 0] - pairs[:, 1]) ** 2)))


CORRELATIONS: dict[str, Callable[[Floats], float]] = {"spearman": spearman, "pearson": pearson}
"""By the name of the metric."""
