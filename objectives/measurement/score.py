"""How well a model does: values with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import Batch, logits, to_device
from objectives.store import heartbeat

NORMAL_QUANTILE = 1.959964
"""Of the standard normal distribution, for a two-sided 95 % interval."""


@dataclass(frozen=True, slots=True)
class Score:
    """How well a model does on a split.

    Args:
        value: In the unit of the task's metric.
        low: Lower end of its 95 % interval.
        high: Upper end.
        examples: Examples, or predicted tokens, that it is a mean over.
        loss: Mean cross-entropy in nats.
    """

    value: float
    low: float
    high: float
    examples: int
    loss: float


def score_classifier(model: nn.Module, batches: Iterable[Batch]) -> Score:
    """Accuracy and cross-entropy of a classifier on batches with ``labels``."""
    correct, examples, loss = 0, 0, 0.0
    model.eval()
    with torch.inference_mode():
        for each in batches:
            heartbeat.beat("scoring")
            batch = to_device(each, model)
            answers = logits(model, batch)
            loss += functional.cross_entropy(answers, batch["labels"], reduction="sum").item()
            correct += int((answers.argmax(-1) == batch["labels"]).sum())
            examples += len(batch["labels"])
    return accuracy_score(correct, examples, loss / examples)


def accuracy_score(correct: int, examples: int, loss: float) -> Score:
    """Share of correct answers with its interval (Wilson 1927, the score interval)."""
    z, n, p = NORMAL_QUANTILE, examples, correct / examples
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The ends at 0 and 1 are exact in theory, and not in floating point.
    low, high = max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))
    return Score(p, low, high, examples, loss)


def perplexity_score(losses: Sequence[float], tokens: int) -> Score:
    """Perplexity with its interval.

    Args:
        losses: Mean cross-entropy of each sequence in nats, two at least; all of one length. Tokens
            of one sequence are not independent of each other, so the interval is that of sequences.
        tokens: Predicted tokens in all.
    """
    mean = float(np.mean(losses))
    half = NORMAL_QUANTILE * float(np.std(losses, ddof=1)) / math.sqrt(len(losses))
    if not math.isfinite(mean):
        return Score(mean, mean, mean, tokens, mean)
    return Score(_exp(mean), _exp(mean - half), _exp(mean + half), tokens, mean)


def _exp(value: float) -> float:
    """Exponential that stays finite for what a broken model gives."""
    return math.exp(min(value, 700.0))
