"""Scores of a user's own task, from what it measured on each example."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import Batch
from objectives.data.encoding import IGNORED
from objectives.measurement.flops import BatchParts
from objectives.measurement.intervals import Floats, Groups, error_of_mean
from objectives.measurement.score import BOOTSTRAP_SAMPLES, Score, perplexity_score
from objectives.measurement.scores.classes import accuracy_score
from objectives.store import heartbeat

Measure = Callable[[nn.Module, Batch], torch.Tensor]


def label_loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of labels.

    Args:
        outputs: Logits ``(rows, classes)``, or ``(rows, tokens, classes)``.
        labels: One for each row, or for each token.
    """
    flat = outputs.float().flatten(0, -2)
    return functional.cross_entropy(flat, labels.flatten(), ignore_index=IGNORED)


def label_scores(outputs: torch.Tensor, labels: torch.Tensor, metric: str) -> torch.Tensor:
    """Fraction of the labels of each row that is predicted, ``(rows,)``; of the metric
    ``perplexity``, their mean cross-entropy in nats. Arguments as of ``label_loss``."""
    outputs = outputs.float()
    if outputs.ndim == 2:
        outputs, labels = outputs[:, None], labels[:, None]
    is_scored = labels != IGNORED
    if metric == "perplexity":
        each = functional.cross_entropy(
            outputs.transpose(1, 2), labels, reduction="none", ignore_index=IGNORED
        )
    else:
        each = (outputs.argmax(-1) == labels).float()
    return (each * is_scored).sum(1) / is_scored.sum(1).clamp(min=1)


def measured(
    model: nn.Module, batches: Iterable[Batch], scores: Measure, loss: Measure
) -> tuple[Floats, float]:
    """What two functions of a model and a batch give for batches: the numbers of each row
    ``(rows, ...)``, and the mean loss of a row."""
    each: list[Floats] = []
    total, rows = 0.0, 0
    parts = BatchParts(model)
    with torch.inference_mode():
        for batch in batches:
            heartbeat.beat("scoring")
            for part in parts.of(batch):
                each.append(scores(model, part).double().cpu().numpy())
                total += float(loss(model, part)) * len(each[-1])
                rows += len(each[-1])
    return np.concatenate(each), total / rows


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
