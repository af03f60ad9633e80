"""What a task is, the one seam of the objectives: how it is trained and scored is one file."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from objectives.data.batches import Batch
from objectives.measurement.score import Score
from objectives.training.paths import TrainingPath
from objectives.training.stages import LearningProblem
from spaces.cost.configuration import Configuration

CALIBRATION_BATCHES = 4


class Task(Protocol):
    """Data, losses and score of one kind of task."""

    @property
    def problem(self) -> LearningProblem:
        """How a final model is trained, for a recovery after pruning, and its loss."""
        ...

    def path(self, configuration: Configuration) -> TrainingPath:
        """The chain of training that a configuration asks for; its end is the final model."""
        ...

    def score(self, model: nn.Module, split: str) -> Score:
        """Score a final model on ``validation`` or ``test``."""
        ...

    def calibration(self) -> list[Batch]:
        """Training batches of one shape, for pruning, calibration and checks of compression."""
        ...

    def latency_input(self, batch_size: int) -> Batch:
        """Arguments of a forward pass on inputs of full length, to measure latency with."""
        ...
