"""Masked language modelling (Devlin et al. 2019, arXiv 1810.04805)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import Batch, MaskedBatches, to_device
from objectives.data.prepared_data import PreparedData
from objectives.measurement.score import Score, perplexity_score
from objectives.store import heartbeat
from objectives.tasks.base import Task
from objectives.training.learning_problem import LearningProblem
from objectives.training.stages import Stages
from spaces.cost.flops import pretraining_workload
from spaces.cost.workload import Workload

EVALUATION_BATCH = 64
MAX_EVALUATION = 1024
"""Sequences that a score is measured on: about 10,000 predicted tokens."""


class MaskedLanguageModel(Task):
    """Masked language modelling; also the pre-training of classifiers.

    Args:
        data: The prepared data.
        stages: Makes the stages of training.
        workload: Inputs and outputs of the models.
        batch_size: Examples in a training batch.
        seed: Of the order of the data and the masks.
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
        self._workload = pretraining_workload(workload)
        self._seed = seed
        problem = LearningProblem(
            name="masked-lm",
            workload=self._workload,
            batches=self._batches("train", batch_size),
            loss=self.loss,
            score=self.score,
        )
        super().__init__(problem, stages)

    def score(self, model: nn.Module, split: str) -> Score:
        """Perplexity of the masked tokens of a split; which are masked depends on the seed."""
        batches = self._batches(split, EVALUATION_BATCH)
        count = min(batches.sequences, MAX_EVALUATION)
        losses: list[float] = []
        tokens = 0
        model.eval()
        with torch.inference_mode():
            for start in range(0, count, EVALUATION_BATCH):
                heartbeat.beat("scoring")
                # An epoch visits every sequence once; its last batch may begin the next epoch.
                rows = min(EVALUATION_BATCH, count - start)
                batch = to_device(_first(batches(start // EVALUATION_BATCH), rows), model)
                each = functional.cross_entropy(
                    _masked_logits(model, batch), batch["targets"], reduction="none"
                )
                losses.extend(each.view(rows, -1).mean(1).tolist())
                tokens += len(batch["targets"])
        return perplexity_score(losses, tokens)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the masked tokens."""
        batch = to_device(batch, model)
        return functional.cross_entropy(_masked_logits(model, batch).float(), batch["targets"])

    def latency_input(self, batch_size: int) -> Batch:
        """Real text of full length."""
        return {"input_ids": self._batches("validation", batch_size)(0)["input_ids"]}

    def _batches(self, split: str, batch_size: int) -> MaskedBatches:
        return MaskedBatches(
            stream=self._data.token_stream(split),
            sequence_length=self._workload.sequence_length,
            batch_size=batch_size,
            vocabulary_size=self._workload.vocabulary_size,
            seed=self._seed,
        )


def _first(batch: Batch, rows: int) -> Batch:
    """The first sequences of a batch."""
    return {name: t[: len(t) * rows // len(batch["input_ids"])] for name, t in batch.items()}


def _masked_logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Logits ``(positions, vocabulary)`` at the masked positions.

    Only those go through the vocabulary head, which takes most of the time of small models.
    """
    hidden = model.get_submodule("roberta")(batch["input_ids"]).last_hidden_state
    outputs: torch.Tensor = model.get_submodule("lm_head")(hidden.flatten(0, 1)[batch["positions"]])
    return outputs
