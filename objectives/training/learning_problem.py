"""Learning problems: the data, the loss and the score that a stage trains a model with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from objectives.data.batches import WHOLE_BATCH, Batch, BatchShard, logits, to_device
from objectives.measurement.score import Score
from objectives.models.build import build
from objectives.training.path import Epoch
from spaces.cost.architecture import Architecture, Shape
from spaces.cost.workload import Workload


class LearningProblem(ABC):
    """What a stage trains a model on."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """Part of the key of its paths: it stands for all that ``loss`` does beside the data."""

    @property
    @abstractmethod
    def workload(self) -> Workload:
        """What its models read and predict."""

    @property
    def dropout(self) -> float:
        """Dropout of training."""
        return 0.0

    @property
    def passes(self) -> int:
        """Forward passes over a batch in each step."""
        return 1

    @property
    def identity(self) -> dict[str, Any]:
        """What the weights depend on beside ``kind`` and what every problem has."""
        return {}

    @property
    @abstractmethod
    def epoch(self) -> Epoch:
        """One pass over the training examples."""

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """The training batch of a step."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Loss of a model on a training batch."""

    def predictions(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Logits of all that a model predicts of a training batch, ``(predictions, classes)``."""
        return logits(model, batch).float().flatten(0, -2)

    def targets(self, batch: Batch) -> torch.Tensor:
        """The class of each prediction, ``(predictions,)``; ``IGNORED`` where none is asked for."""
        return batch["labels"].flatten()

    def terms(self, batch: Batch) -> int:
        """Number of terms of a batch that ``loss`` is the mean of: its rows, if not overridden."""
        return len(next(iter(batch.values())))

    @abstractmethod
    def score(self, model: nn.Module, split: str) -> Score:
        """Score of a model on ``validation`` or ``test``."""

    @property
    def scored_by(self) -> dict[str, Any]:
        """What ``score`` depends on beside the model and the data; weights do not depend on it."""
        return {}

    def loss_at(self, model: nn.Module, step: int, shard: BatchShard = WHOLE_BATCH) -> torch.Tensor:
        """Loss of a model on the batch of a step, or on a shard of it.

        The mean over all shards is the loss of the batch, also where they have unequal numbers of
        terms.
        """
        batch = to_device(self.batch(step), model)
        if shard == WHOLE_BATCH:
            return self.loss(model, batch)
        own = shard.of(batch)
        return self.loss(model, own) * (shard.count * self.terms(own) / self.terms(batch))

    def validation_figures(self, model: nn.Module) -> dict[str, float]:
        """Score and loss on validation data."""
        score = self.score(model, "validation")
        return {"score": score.value, "loss": score.loss}

    def initialise_from(self, architecture: Architecture) -> Callable[[nn.Module], None] | None:
        """What gives an untrained model of an architecture the weights that training starts from;
        None where these are random."""
        return None

    def build(self, shape: Shape) -> nn.Module:
        """An untrained model."""
        return build(shape, self.workload, dropout=self.dropout)
