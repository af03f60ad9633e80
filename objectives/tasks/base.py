"""The interface of a task: what is trained, with which data and loss, and how it is scored."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from objectives.data.batches import Batch
from objectives.data.prepared_data import PreparedData
from objectives.references.reference import Reference
from objectives.tasks.checkpoint_start import CheckpointStart
from objectives.training.learning_problem import LearningProblem
from objectives.training.path import TrainingPath
from objectives.training.stages import Stages
from spaces.cost.architecture import Architecture
from spaces.cost.configuration import Configuration
from spaces.cost.metric import MetricName
from spaces.cost.workload import Workload

CALIBRATION_BATCHES = 4


@dataclass(frozen=True, eq=False)
class Task(LearningProblem):
    """The learning problem of a search, and the training path to its final models.

    ``seed`` determines the order of the training data and its masks, as that of a configuration
    does; the data, its splits and its scores do not depend on it. ``metric`` is what models are
    scored by. ``start`` is the checkpoint that
    models start from; without it, from random weights.
    """

    data: PreparedData
    stages: Stages
    workload: Workload
    batch_size: int
    seed: int
    metric: MetricName = field(kw_only=True)
    start: CheckpointStart | None = field(default=None, kw_only=True)

    @property
    def dropout(self) -> float:
        """That of the search."""
        return self.stages.dropout

    def path(self, configuration: Configuration) -> TrainingPath:
        """The chain of training that a configuration of the same seed asks for; its end is the
        final model."""
        return self.stages.stable_and_decay(configuration, self)

    def timed_path(self, architecture: Architecture) -> TrainingPath:
        """A path on which the speed of the stable path is measured."""
        return self.stages.timed(architecture, self)

    @property
    def identity(self) -> dict[str, Any]:
        """The metric, in which the figures of checkpoints are and by which training may end early;
        and how the layers of a checkpoint are chosen."""
        return {"metric": self.metric, **(self.start.identity if self.start else {})}

    def initialise_from(self, architecture: Architecture) -> Callable[[nn.Module], None] | None:
        """What is kept of the checkpoint, where there is one."""
        start = self.start
        if start is None:
            return None
        tokens = self.data.original_tokens if self.workload.vocabulary_size else None
        return lambda model: start.cut_into(
            model, architecture, self.workload, tokens, self.calibration(), self.loss
        )

    @property
    @abstractmethod
    def train_batches(self) -> Callable[[int], Batch]:
        """Batches of the training split by step."""

    def batch(self, step: int) -> Batch:
        """The training batch of a step."""
        return self.train_batches(step)

    def calibration(self) -> list[Batch]:
        """Training batches of one shape, for pruning, calibration and checks of compression."""
        return [self.batch(step) for step in range(CALIBRATION_BATCHES)]

    @abstractmethod
    def references(self) -> Iterator[Reference]:
        """What a person would try in a minute, fitted to the training split, the smallest first."""

    @abstractmethod
    def latency_input(self, batch_size: int) -> Batch:
        """Arguments of a forward pass on inputs of full length, to measure latency with."""
