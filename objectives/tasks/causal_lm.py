"""Causal language modelling: next-token prediction with Llama's blocks."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import Batch, CausalBatches, logits, to_device
from objectives.data.prepared_data import PreparedData
from objectives.measurement.score import Score, perplexity_score
from objectives.store import heartbeat
from objectives.tasks.base import Task
from objectives.training.learning_problem import LearningProblem
from objectives.training.stages import Stages
from spaces.cost.workload import Workload

EVALUATION_BATCH = 32
MAX_EVALUATION = 512
"""Sequences that a score is measured on, spread over the split."""


class CausalLanguageModel(Task):
    """Causal language modelling.

    Args:
        data: The prepared data.
        stages: Makes the stages of training.
        workload: Inputs and outputs of the models.
        batch_size: Examples in a training batch.
        seed: Of the order of the data.
    """

    def __init__(
        self,
        data: PreparedData,
        stages: Stages,
        workload: Workload,
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        self._data = data
        self._sequence_length = workload.sequence_length
        self._batch_size = batch_size
        self._seed = seed
        problem = LearningProblem(
            name="causal-lm",
            workload=workload,
            batches=self._batches("train"),
            loss=self.loss,
            score=self.score,
        )
        super().__init__(problem, stages)

    def score(self, model: nn.Module, split: str) -> Score:
        """Perplexity per token of a split, in independent windows."""
        batches = self._batches(split)
        count = min(batches.sequences, MAX_EVALUATION)
        rows = np.linspace(0, batches.sequences - 1, count).astype(np.int64)
        losses: list[float] = []
        model.eval()
        with torch.inference_mode():
            for start in range(0, count, EVALUATION_BATCH):
                heartbeat.beat("scoring")
                batch = to_device(batches.windows(rows[start : start + EVALUATION_BATCH]), model)
                each = functional.cross_entropy(
                    logits(model, batch).transpose(1, 2), batch["targets"], reduction="none"
                )
                losses.extend(each.mean(1).tolist())
        return perplexity_score(losses, count * self._sequence_length)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the next tokens."""
        batch = to_device(batch, model)
        outputs = logits(model, batch).float()
        return functional.cross_entropy(outputs.flatten(0, 1), batch["targets"].flatten())

    def latency_input(self, batch_size: int) -> Batch:
        """Real text of full length."""
        rows = np.arange(batch_size) % self._batches("validation").sequences
        return {"input_ids": self._batches("validation").windows(rows)["input_ids"]}

    def _batches(self, split: str) -> CausalBatches:
        return CausalBatches(
            stream=self._data.token_stream(split),
            sequence_length=self._sequence_length,
            batch_size=self._batch_size,
            seed=self._seed,
        )
