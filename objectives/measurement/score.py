"""Scores of a model with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import Batch, logits, to_device
from objectives.data.encoding import END, Tokens
from objectives.data.row_order import Rows
from objectives.store import heartbeat

Predict = Callable[[Batch], torch.Tensor]
"""What is scored: from a batch to what the task scores, such as logits or losses."""

Groups = npt.NDArray[np.integer]
"""The group of each example ``(examples,)``; examples of one group depend on each other."""
Floats = npt.NDArray[np.float64]

BOOTSTRAP_SAMPLES = 300
NORMAL_QUANTILE = 1.959964
"""Of the standard normal distribution, for a two-sided 95 % interval."""
LEAST_DOCUMENTS = 20
"""Of fewer documents, runs of windows are the units of an interval."""


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


def score_classifier(predict: Predict, batches: Iterable[Batch], groups: Groups) -> Score:
    """Accuracy and cross-entropy of the logits ``(batch, classes)`` of batches with ``labels``.

    Args:
        groups: The group of each example, in the order of the batches.
    """
    correct: list[bool] = []
    loss = 0.0
    with torch.inference_mode():
        for batch in batches:
            heartbeat.beat("scoring")
            outputs = predict(batch)
            labels = batch["labels"].to(outputs.device)
            loss += functional.cross_entropy(outputs, labels, reduction="sum").item()
            correct += (outputs.argmax(-1) == labels).tolist()
    return accuracy_score(correct, groups, loss / len(correct))


def accuracy_score(correct: Sequence[bool], groups: Groups, loss: float) -> Score:
    """Accuracy with its Wilson score interval, of independent groups.

    Where examples depend on each other, their number is divided by the design effect (Korn and
    Graubard 1998, Survey Methodology 24), and the quantile is that of Student's distribution. Few
    groups are the usual case: of 6 to 30 groups this interval holds the truth in 93 to 95 % of
    simulated samples, a bootstrap of groups (Field and Welsh 2007) in 85 to 93 %.

    Args:
        correct: Whether each example is classified correctly.
        groups: The group of each example, of at least two; of one example each if independent.
    """
    accuracy = float(np.mean(correct))
    error, quantile = _error_of_mean(np.asarray(correct, dtype=np.float64), groups)
    independent = float(len(correct))
    if quantile != NORMAL_QUANTILE:
        # Where no example differs from the others, groups are all that is known to be independent.
        found = accuracy * (1.0 - accuracy) / error**2 if error else len(np.unique(groups))
        independent = min(independent, float(found))
    low, high = _wilson(accuracy, independent, quantile)
    return Score(accuracy, low, high, len(correct), loss)


def perplexity_score(losses: Sequence[float], groups: Groups, tokens: int) -> Score:
    """Perplexity with its interval, of independent groups.

    Args:
        losses: Mean cross-entropy of each sequence in nats, two at least; all of one length.
        groups: The group of each sequence, such as its document (``window_groups``), of at least
            two: neither tokens of one sequence nor sequences of one document are independent.
        tokens: Predicted tokens in all.
    """
    mean = float(np.mean(losses))
    if not math.isfinite(mean):
        return Score(mean, mean, mean, tokens, mean)
    error, quantile = _error_of_mean(np.asarray(losses, dtype=np.float64), groups)
    half = quantile * error
    return Score(_exp(mean), _exp(mean - half), _exp(mean + half), tokens, mean)


def window_groups(stream: Tokens, starts: Rows) -> Groups:
    """The group of each window of a stream of tokens: the document in which it begins.

    Windows of a few long documents are in runs of successive windows instead, about as many runs as
    a run has windows (batch means: Flegal and Jones 2010, arXiv 0811.1729).

    Args:
        starts: First token of each window, ``(windows,)``.
    """
    documents = np.searchsorted(np.flatnonzero(stream == END), starts)
    if len(np.unique(documents)) >= LEAST_DOCUMENTS:
        return documents
    runs = math.ceil(math.sqrt(len(starts)))
    rank = np.argsort(np.argsort(starts, kind="stable"), kind="stable")
    return rank * runs // len(starts)


def _error_of_mean(values: Floats, groups: Groups) -> tuple[float, float]:
    """Standard error of a mean over independent groups, and the quantile of its 95 % interval.

    The error is that of a ratio of sums over groups, robust to dependence within them (Cameron and
    Miller 2015, A Practitioner's Guide to Cluster-Robust Inference, section II).
    """
    from scipy.special import stdtrit

    _, index = np.unique(groups, return_inverse=True)
    residuals = np.bincount(index, values - values.mean())
    count = len(residuals)
    error = math.sqrt(count / (count - 1) * float((residuals**2).sum())) / len(values)
    if count == len(values):
        return error, NORMAL_QUANTILE
    return error, float(stdtrit(count - 1, 0.975))


def _wilson(fraction: float, independent: float, quantile: float) -> tuple[float, float]:
    """Wilson's score interval of a fraction of independent examples (Wilson 1927)."""
    z = quantile**2 / independent
    middle = fraction + z / 2.0
    half = math.sqrt(z * (fraction * (1.0 - fraction) + z / 4.0))
    low, high = (middle - half) / (1.0 + z), (middle + half) / (1.0 + z)
    # Rounded, the interval of 0 or 1 would not hold it.
    return min(fraction, max(0.0, low)), max(fraction, min(1.0, high))


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
