"""Scores of a model with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from objectives.data.batches import Batch, logits, to_device
from objectives.data.encoding import END, Tokens
from objectives.data.row_order import Rows
from objectives.measurement.flops import BatchParts, concatenated
from objectives.measurement.intervals import Groups, error_of_mean

Predict = Callable[[Batch], torch.Tensor]
"""What is scored: from a batch to what the task scores, such as logits or losses."""

BOOTSTRAP_SAMPLES = 300
LEAST_DOCUMENTS = 20
"""Of fewer documents, runs of windows are the units of an interval."""


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a model on a split.

    Args:
        value: In the unit of the task's metric; ``low`` to ``high`` is its 95 % interval.
        examples: Examples, or predicted tokens, that were scored.
        loss: Mean cross-entropy in nats.
        details: Of BLEU and chrF, ``signature``, which says how sacreBLEU computed it; beside BLEU,
            ``chrf`` of the same texts.
    """

    value: float
    low: float
    high: float
    examples: int
    loss: float
    details: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Passage:
    """A text that a language model is scored on.

    Args:
        tokens: Its tokens.
        loss: Mean cross-entropy of those that the model predicts, in nats.
    """

    tokens: Sequence[int]
    loss: float


def logits_of(model: nn.Module) -> Predict:
    """The logits of a model in evaluation mode, as a function of a batch."""
    return by_parts(model, lambda batch: logits(model, to_device(batch, model)))


def by_parts(model: nn.Module, predict: Predict) -> Predict:
    """The same function with a model in evaluation mode, part by part of a batch on which it would
    take long."""
    parts = BatchParts(model.eval())
    return lambda batch: concatenated([predict(part) for part in parts.of(batch)])


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
    error, quantile = error_of_mean(np.asarray(losses, dtype=np.float64), groups)
    half = quantile * error
    return Score(_exp(mean), _exp(mean - half), _exp(mean + half), tokens, mean)


def bits_per_byte_score(
    losses: Sequence[float], sizes: Sequence[int], groups: Groups, tokens: int
) -> Score:
    """Cross-entropy in bits for each byte of text, with its interval, of independent groups.

    Args:
        losses: Cross-entropy of each sequence in nats, the sum over its tokens.
        sizes: Bytes of the text of each sequence in UTF-8.
        groups: The group of each sequence, as of ``perplexity_score``.
        tokens: Predicted tokens in all.
    """
    bits = np.asarray(losses) / math.log(2.0)
    each_size = np.asarray(sizes, dtype=np.float64)
    value = float(bits.sum() / each_size.sum())
    mean = float(np.sum(losses)) / tokens
    if not math.isfinite(value):
        return Score(value, value, value, tokens, mean)
    # The residuals of a ratio of sums, whose mean is 0.
    error, quantile = error_of_mean((bits - value * each_size) / each_size.mean(), groups)
    half = quantile * error
    return Score(value, max(0.0, value - half), value + half, tokens, mean)


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


def _exp(value: float) -> float:
    """Exponential that stays finite for the losses of a broken model."""
    return math.exp(min(value, 700.0))
