"""What a task is, the one seam of the objectives: a new task is one file in ``tasks``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from objectives.batches import Batch
from objectives.paths import TrainingPath
from spaces.configuration import Configuration

NORMAL_QUANTILE = 1.959964
"""Of the standard normal distribution, for a two-sided 95 % interval."""


@dataclass(frozen=True, slots=True)
class Score:
    """How well a model does on a split.

    Args:
        correct: Examples answered correctly.
        examples: Examples in all.
        loss: Mean cross-entropy in nats.
    """

    correct: int
    examples: int
    loss: float

    @property
    def accuracy(self) -> float:
        """Share of examples answered correctly."""
        return self.correct / self.examples

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy (Wilson 1927, the score interval)."""
        z, n, p = NORMAL_QUANTILE, self.examples, self.accuracy
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)


class Task(Protocol):
    """Data, model, losses and score of one kind of task."""

    def path(self, configuration: Configuration) -> TrainingPath:
        """The chain of training that a configuration asks for; its end is the final model."""
        ...

    def score(self, model: nn.Module, split: str) -> Score:
        """Score a final model on ``validation`` or ``test``."""
        ...

    def calibration(self) -> list[Batch]:
        """Training batches for pruning, calibration and the checks of compression."""
        ...

    def latency_input(self, batch_size: int) -> torch.Tensor:
        """Token ids of full length, ``(batch, sequence)``, to measure latency on."""
        ...
