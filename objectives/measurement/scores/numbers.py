"""Scores of predicted numbers with their intervals: correlations and the mean squared error."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from objectives.data.batches import Batch
from objectives.measurement.intervals import Floats, Groups
from objectives.measurement.score import Predict, Score
from objectives.measurement.scores.examples import score_of_examples
from objectives.predictor.numbers import STATISTICS
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
        found = deviation * found
    return score_of_examples(metric, found, groups, loss, STATISTICS[metric])
