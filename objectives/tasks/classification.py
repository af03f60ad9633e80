"""Text classification: masked-language-model pre-training, then fine-tuning (Li et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import (
    EVALUATION_BATCH_SIZE,
    Batch,
    BucketedBatches,
    labelled_text_batch,
    logits,
    to_device,
)
from objectives.data.row_order import rows_by_length
from objectives.measurement.score import Predict, Score, logits_of, score_classifier
from objectives.references.classifiers import text_references
from objectives.references.reference import Reference
from objectives.tasks.base import CALIBRATION_BATCHES, Task
from objectives.tasks.masked_lm import MaskedLanguageModel
from objectives.training.path import TrainingPath
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.cost.flops import pretraining_workload


class Classification(Task):
    """The classification task, of texts or of pairs of texts."""

    name = "classification"
    dropout = 0.1  # of fine-tuning; pre-training sees each text about once and needs none

    @cached_property
    def pretraining(self) -> MaskedLanguageModel:
        """The task that pre-training solves."""
        workload = pretraining_workload(self.workload)
        return MaskedLanguageModel(self.data, self.stages, workload, self.batch_size, self.seed)

    def path(self, configuration: Configuration) -> TrainingPath:
        """Stable pre-training, its decay, and fine-tuning."""
        return self.stages.next_stage(
            self.pretraining.path(configuration),
            configuration.with_compression(Compression()),
            self,
            name="fine-tuning",
            steps=self.stages.steps(configuration).fine_tuning,
            transfer_weights=_transfer_encoder,
            identity={},
        )

    @cached_property
    def train_batches(self) -> BucketedBatches:
        """Batches of the training split."""
        examples = self.data.labelled_texts("train")
        return BucketedBatches(labelled_text_batch, examples, self.batch_size, self.seed)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the labels."""
        batch = to_device(batch, model)
        return functional.cross_entropy(logits(model, batch).float(), batch["labels"])

    def score(self, model: nn.Module, split: str) -> Score:
        """Accuracy and cross-entropy on a split."""
        return self._score(logits_of(model), split)

    def _score(self, predict: Predict, split: str) -> Score:
        examples = self.data.labelled_texts(split)
        order = list(rows_by_length(examples.lengths, EVALUATION_BATCH_SIZE))
        batches = (labelled_text_batch(examples, rows) for rows in order)
        return score_classifier(predict, batches, examples.groups[np.concatenate(order)])

    def references(self) -> Iterator[Reference]:
        """The majority class, and logistic regression on token counts."""
        texts, workload = self.data.labelled_texts("train"), self.workload
        return text_references(texts, workload.vocabulary_size, workload.classes, self._score)

    def calibration(self) -> list[Batch]:
        """Training batches, padded to full length."""
        return [self.train_batches.full_length(step) for step in range(CALIBRATION_BATCHES)]

    def latency_input(self, batch_size: int) -> Batch:
        """Real pre-training text of full length."""
        return self.pretraining.latency_input(batch_size)


def _transfer_encoder(pretrained: Any, classifier: Any) -> None:
    classifier.base_model.load_state_dict(pretrained.base_model.state_dict())
