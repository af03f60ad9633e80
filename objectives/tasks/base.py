"""The interface of a task: what is trained, with which data and loss, and how it is scored."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from objectives.data.batches import Batch
from objectives.measurement.score import Score
from objectives.training.learning_problem import LearningProblem
from objectives.training.path import TrainingPath
from objectives.training.stages import Stages
from spaces.cost.configuration import Configuration

CALIBRATION_BATCHES = 4


class Task(ABC):
    """Data, loss and score of one kind of task.

    Args:
        problem: What the final model is trained on; recovery after pruning continues with it.
        stages: Makes the stages of training.
    """

    def __init__(self, problem: LearningProblem, stages: Stages) -> None:
        self.problem = problem
        self.stages = stages

    def path(self, configuration: Configuration) -> TrainingPath:
        """The chain of training that a configuration asks for; its end is the final model."""
        return self.stages.stable_and_decay(configuration, self.problem)

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Loss of a model on a training batch."""

    @abstractmethod
    def score(self, model: nn.Module, split: str) -> Score:
        """Score of a final model on ``validation`` or ``test``."""

    def calibration(self) -> list[Batch]:
        """Training batches of one shape, for pruning, calibration and checks of compression."""
        return [self.problem.batches(step) for step in range(CALIBRATION_BATCHES)]

    @abstractmethod
    def latency_input(self, batch_size: int) -> Batch:
        """Arguments of a forward pass on inputs of full length, to measure latency with."""
