"""Text classification: masked-language-model pre-training, then fine-tuning (Li et al. 2020)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import (
    EVALUATION_BATCH_SIZE,
    Batch,
    LabelledTextBatches,
    labelled_text_batch,
    logits,
    to_device,
)
from objectives.data.prepared_data import PreparedData
from objectives.data.row_order import rows_by_length
from objectives.measurement.score import Score, score_classifier
from objectives.tasks.base import CALIBRATION_BATCHES, Task
from objectives.tasks.masked_lm import MaskedLanguageModel
from objectives.training.learning_problem import LearningProblem
from objectives.training.path import TrainingPath
from objectives.training.stages import Stages
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.cost.workload import Workload

DROPOUT = 0.1
"""Of fine-tuning. Pre-training sees each text about once and needs none."""


class Classification(Task):
    """The classification task, of texts or of pairs of texts.

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
        self.pretraining = MaskedLanguageModel(
            data, stages, workload, batch_size=batch_size, seed=seed
        )
        self._train = LabelledTextBatches(data.labelled_texts("train"), batch_size, seed)
        problem = LearningProblem(
            name="classification",
            workload=workload,
            batches=self._train,
            loss=self.loss,
            score=self.score,
            dropout=DROPOUT,
        )
        super().__init__(problem, stages)

    def path(self, configuration: Configuration) -> TrainingPath:
        """Stable pre-training, its decay, and fine-tuning."""
        return self.stages.next_stage(
            self.pretraining.path(configuration),
            configuration.with_compression(Compression()),
            self.problem,
            name="fine-tuning",
            steps=self.stages.steps(configuration).fine_tuning,
            transfer_weights=_transfer_encoder,
            identity={},
        )

    def score(self, model: nn.Module, split: str) -> Score:
        """Accuracy and cross-entropy of a classifier on a split."""
        examples = self._data.labelled_texts(split)
        batches = rows_by_length(examples.lengths, EVALUATION_BATCH_SIZE)
        return score_classifier(model, (labelled_text_batch(examples, rows) for rows in batches))

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the labels."""
        batch = to_device(batch, model)
        return functional.cross_entropy(logits(model, batch).float(), batch["labels"])

    def calibration(self) -> list[Batch]:
        """Fine-tuning batches, padded to full length."""
        return [self._train.full_length(step) for step in range(CALIBRATION_BATCHES)]

    def latency_input(self, batch_size: int) -> Batch:
        """Real pre-training text of full length."""
        return self.pretraining.latency_input(batch_size)


def _transfer_encoder(pretrained: nn.Module, classifier: nn.Module) -> None:
    classifier.get_submodule("roberta").load_state_dict(
        pretrained.get_submodule("roberta").state_dict()
    )
