"""Learning problems: the data, the loss and the score that a stage trains a model with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from objectives.data.batch_shards import WHOLE_BATCH, BatchShard
from objectives.data.batches import Batch
from objectives.measurement.score import Score
from objectives.models.build import build
from spaces.cost.shape import Shape
from spaces.cost.workload import Workload


def _rows(batch: Batch) -> int:
    return len(next(iter(batch.values())))


@dataclass(frozen=True)
class LearningProblem:
    """What a stage trains a model on.

    Args:
        name: Part of the key of its paths: it stands for all that ``loss`` does beside the data.
        workload: Inputs and outputs of the models, and their family.
        batches: Training batch of a step.
        loss: Loss of a model on a training batch.
        score: Score of a model on a split.
        scored_by: What ``score`` depends on beside the model and the data, such as how a text is
            decoded. Weights do not depend on it.
        dropout: Dropout of the models.
        terms: Number of terms of a batch that ``loss`` is the mean of.
    """

    name: str
    workload: Workload
    batches: Callable[[int], Batch]
    loss: Callable[[nn.Module, Batch], torch.Tensor]
    score: Callable[[nn.Module, str], Score]
    scored_by: dict[str, Any] = field(default_factory=dict)
    dropout: float = 0.0
    terms: Callable[[Batch], int] = _rows

    def loss_at(self, model: nn.Module, step: int, shard: BatchShard = WHOLE_BATCH) -> torch.Tensor:
        """Loss of a model on the batch of a step, or on a shard of it.

        The mean over all shards is the loss of the batch, also where they have unequal numbers of
        terms.
        """
        batch = self.batches(step)
        if shard == WHOLE_BATCH:
            return self.loss(model, batch)
        own = shard.of(batch)
        return self.loss(model, own) * (shard.count * self.terms(own) / self.terms(batch))

    def build(self, shape: Shape) -> nn.Module:
        """An untrained model."""
        return build(shape, self.workload, dropout=self.dropout)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Figures on held-out data."""
        score = self.score(model, "validation")
        return {"score": score.value, "loss": score.loss}
