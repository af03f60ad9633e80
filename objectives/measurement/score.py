"""Scores of a model with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import Batch, logits, to_device
from objectives.store import heartbeat

Predict = Callable[[Batch], torch.Tensor]
"""What is scored: from a batch to what the task scores, such as logits or losses."""

BOOTSTRAP_SAMPLES = 300
NORMAL_QUANTILE = 1.959964
"""Of the standard normal distribution, for a two-sided 95 % interval."""


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a model on a split.

    Args:
        value: In the unit of the task's metric; ``low`` to ``high`` is its 95 % interval.
        examples: Examples, or predicted tokens, that were scored.
        loss: Mean cross-entropy in nats.
    """

    value: float
    low: float
    high: float
    examples: int
    loss: float


def logits_of(model: nn.Module) -> Predict:
    """The logits of a model in evaluation mode, as a function of a batch."""
    model.eval()
    return lambda batch: logits(model, to_device(batch, model))


def score_classifier(predict: Predict, batches: Iterable[Batch]) -> Score:
    """Accuracy and cross-entropy of the logits ``(batch, classes)`` of batches with ``labels``."""
    correct, examples, loss = 0, 0, 0.0
    with torch.inference_mode():
        for batch in batches:
            heartbeat.beat("scoring")
            outputs = predict(batch)
            labels = batch["labels"].to(outputs.device)
            loss += functional.cross_entropy(outputs, labels, reduction="sum").item()
            correct += int((outputs.argmax(-1) == labels).sum())
            examples += len(labels)
    return accuracy_score(correct, examples, loss / examples)


def accuracy_score(correct: int, examples: int, loss: float) -> Score:
    """Accuracy with its Wilson score interval."""
    # Not at the top of the file: the import takes half a second, and only classifiers need it.
    from scipy.stats import binomtest

    interval = binomtest(correct, examples).proportion_ci(method="wilson")
    return Score(correct / examples, float(interval.low), float(interval.high), examples, loss)


def perplexity_score(losses: Sequence[float], tokens: int) -> Score:
    """Perplexity with its interval.

    Args:
        losses: Mean cross-entropy of each sequence in nats, two at least; all of one length. The
            interval is over sequences, as tokens of one sequence are not independent.
        tokens: Predicted tokens in all.
    """
    mean = float(np.mean(losses))
    half = NORMAL_QUANTILE * float(np.std(losses, ddof=1)) / math.sqrt(len(losses))
    if not math.isfinite(mean):
        return Score(mean, mean, mean, tokens, mean)
    return Score(_exp(mean), _exp(mean - half), _exp(mean + half), tokens, mean)


def bleu_score(texts: Sequence[str], references: Sequence[str], loss: float) -> Score:
    """sacreBLEU's default BLEU (Post 2018, arXiv 1804.08771) with its bootstrap interval."""
    from sacrebleu.metrics import BLEU

    result = BLEU().corpus_score(texts, [references], n_bootstrap=BOOTSTRAP_SAMPLES)
    half = float(result._ci)
    value = min(100.0, float(result.score))
    low, high = max(0.0, value - half), min(100.0, value + half)
    return Score(value, low, high, len(references), loss)


def _exp(value: float) -> float:
    """Exponential that stays finite for the losses of a broken model."""
    return math.exp(min(value, 700.0))
