"""Masked language modelling (Devlin et al. 2019, arXiv 1810.04805): the paper's first pillar."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import Batch, MaskedBatches, to_device
from objectives.data.prepared_data import PreparedData
from objectives.measurement.score import Score, perplexity_score
from objectives.store import heartbeat
from objectives.tasks.base import CALIBRATION_BATCHES
from objectives.training.paths import TrainingPath
from objectives.training.stages import LearningProblem, Stages
from spaces.cost.configuration import Configuration
from spaces.cost.flops import pretraining_workload
from spaces.file.search_file import SearchFile

EVALUATION_BATCH = 64
LARGEST_EVALUATION = 1024
"""Sequences that a score is measured on: about 10,000 predicted tokens."""


class MaskedLanguageModel:
    """Masked language modelling; also the pre-training of classifiers.

    Args:
        search: The search file.
        data: Its prepared data.
    """

    def __init__(self, search: SearchFile, data: PreparedData) -> None:
        self._search = search
        self._data = data
        self._stages = Stages(search, data.fingerprint)
        self._train = self._batches("train", search.training.batch_size)
        self.problem = LearningProblem(
            name="masked-lm",
            workload=pretraining_workload(search.workload),
            batches=self._train,
            loss=self.loss,
            score=self.score,
        )

    def path(self, configuration: Configuration) -> TrainingPath:
        """The stable path and its decay."""
        return self._stages.stable_and_decay(configuration, self.problem)

    def score(self, model: nn.Module, split: str) -> Score:
        """Perplexity of the masked tokens of a split; which are masked depends on the seed."""
        batches = self._batches(split, EVALUATION_BATCH)
        count = min(batches.sequences, LARGEST_EVALUATION)
        losses: list[float] = []
        tokens = 0
        model.eval()
        with torch.inference_mode():
            for start in range(0, count, EVALUATION_BATCH):
                heartbeat.beat("scoring")
                # An epoch visits every sequence once: of its last batch, the next one's are left.
                rows = min(EVALUATION_BATCH, count - start)
                batch = to_device(_first(batches(start // EVALUATION_BATCH), rows), model)
                each = functional.cross_entropy(
                    _answers(model, batch), batch["targets"], reduction="none"
                )
                losses.extend(each.view(rows, -1).mean(1).tolist())
                tokens += len(batch["targets"])
        return perplexity_score(losses, tokens)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the masked tokens."""
        batch = to_device(batch, model)
        return functional.cross_entropy(_answers(model, batch).float(), batch["targets"])

    def calibration(self) -> list[Batch]:
        """A few training batches."""
        return [self._train(step) for step in range(CALIBRATION_BATCHES)]

    def latency_input(self, batch_size: int) -> Batch:
        """Real text of full length."""
        return {"input_ids": self._batches("validation", batch_size)(0)["input_ids"]}

    def _batches(self, split: str, batch_size: int) -> MaskedBatches:
        return MaskedBatches(
            stream=self._data.token_stream(split),
            sequence_length=self._search.data.sequence_length,
            batch_size=batch_size,
            vocabulary_size=self._search.data.vocabulary_size,
            seed=self._search.seed,
        )


def _first(batch: Batch, rows: int) -> Batch:
    """The first sequences of a batch."""
    return {name: t[: len(t) * rows // len(batch["input_ids"])] for name, t in batch.items()}


def _answers(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Logits at the masked positions ``(positions, vocabulary)``: only those go through the
    vocabulary head, which would dominate small models."""
    hidden = model.get_submodule("roberta")(batch["input_ids"]).last_hidden_state
    answers: torch.Tensor = model.get_submodule("lm_head")(hidden.flatten(0, 1)[batch["positions"]])
    return answers
