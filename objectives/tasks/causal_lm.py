"""Next-token prediction with Llama's blocks."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import Batch, CausalBatches, logits, to_device
from objectives.data.prepared_data import PreparedData
from objectives.measurement.score import Score, perplexity_score
from objectives.store import heartbeat
from objectives.tasks.base import CALIBRATION_BATCHES
from objectives.training.paths import TrainingPath
from objectives.training.stages import LearningProblem, Stages
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile

EVALUATION_BATCH = 32
LARGEST_EVALUATION = 512
"""Sequences that a score is measured on, spread over the split."""


class CausalLanguageModel:
    """Causal language modelling.

    Args:
        search: The search file.
        data: Its prepared data.
    """

    def __init__(self, search: SearchFile, data: PreparedData) -> None:
        self._search = search
        self._data = data
        self._stages = Stages(search, data.fingerprint)
        self._train = self._batches("train")
        self.problem = LearningProblem(
            name="causal-lm",
            workload=search.workload,
            batches=self._train,
            loss=self.loss,
            score=self.score,
        )

    def path(self, configuration: Configuration) -> TrainingPath:
        """The stable path and its decay."""
        return self._stages.stable_and_decay(configuration, self.problem)

    def score(self, model: nn.Module, split: str) -> Score:
        """Perplexity per token of a split, in windows that see nothing of each other."""
        batches = self._batches(split)
        count = min(batches.sequences, LARGEST_EVALUATION)
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
        return perplexity_score(losses, count * self._search.data.sequence_length)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the next tokens."""
        batch = to_device(batch, model)
        answers = logits(model, batch).float()
        return functional.cross_entropy(answers.flatten(0, 1), batch["targets"].flatten())

    def calibration(self) -> list[Batch]:
        """A few training batches."""
        return [self._train(step) for step in range(CALIBRATION_BATCHES)]

    def latency_input(self, batch_size: int) -> Batch:
        """Real text of full length."""
        rows = np.arange(batch_size) % self._batches("validation").sequences
        return {"input_ids": self._batches("validation").windows(rows)["input_ids"]}

    def _batches(self, split: str) -> CausalBatches:
        return CausalBatches(
            stream=self._data.token_stream(split),
            sequence_length=self._search.data.sequence_length,
            batch_size=self._search.training.batch_size,
            seed=self._search.seed,
        )
