"""What a task is, the one seam of the objectives: a new task is one file in ``tasks``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from objectives.batches import Batch
from objectives.paths import TrainingPath
from objectives.stages import Kind
from spaces.configuration import Configuration

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


class Task(Protocol):
    """Data, losses and score of one kind of task."""

    @property
    def kind(self) -> Kind:
        """How a final model is trained, for a recovery after pruning."""
        ...

    def path(self, configuration: Configuration) -> TrainingPath:
        """The chain of training that a configuration asks for; its end is the final model."""
        ...

    def score(self, model: nn.Module, split: str) -> Score:
        """Score a final model on ``validation`` or ``test``."""
        ...

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Loss of a final model on a training batch, as ``calibration`` gives them."""
        ...

    def calibration(self) -> list[Batch]:
        """Training batches of one shape, for pruning, calibration and checks of compression."""
        ...

    def latency_input(self, batch_size: int) -> Batch:
        """Arguments of a forward pass on inputs of full length, to measure latency with."""
        ...


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
        losses: Mean cross-entropy of each sequence in nats; all of one length. Tokens of one
            sequence are not independent of each other, so the interval is that of sequences.
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
