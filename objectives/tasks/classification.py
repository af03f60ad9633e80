"""Pre-train a masked language model, then fine-tune it to classify: the path of Li et al. 2020."""

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
from objectives.tasks.base import CALIBRATION_BATCHES
from objectives.tasks.masked_lm import MaskedLanguageModel
from objectives.training.paths import TrainingPath
from objectives.training.stages import LearningProblem, Stages
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile

DROPOUT = 0.1
"""Of fine-tuning. Pre-training sees each text about once and needs none."""


class Classification:
    """The classification task, of texts or of pairs of texts.

    Args:
        search: The search file.
        data: Its prepared data.
    """

    def __init__(self, search: SearchFile, data: PreparedData) -> None:
        self._data = data
        self._stages = Stages(search, data.fingerprint)
        self._pretraining = MaskedLanguageModel(search, data)
        self._batches = LabelledTextBatches(
            data.labelled_texts("train"), search.training.batch_size, search.seed
        )
        self.problem = LearningProblem(
            name="classification",
            workload=search.workload,
            batches=self._batches,
            loss=self.loss,
            score=self.score,
            dropout=DROPOUT,
        )

    def path(self, configuration: Configuration) -> TrainingPath:
        """Stable pre-training, its decay, and fine-tuning."""
        return self._stages.next_stage(
            self._pretraining.path(configuration),
            configuration.with_compression(Compression()),
            self.problem,
            name="fine-tuning",
            steps=self._stages.steps(configuration).fine_tuning,
            transfer_weights=_transfer_encoder,
            identity={},
        )

    def score(self, model: nn.Module, split: str) -> Score:
        """Accuracy and cross-entropy of a classifier on a split."""
        examples = self._data.labelled_texts(split)
        return score_classifier(
            model,
            (
                labelled_text_batch(examples, r)
                for r in rows_by_length(examples.lengths, EVALUATION_BATCH_SIZE)
            ),
        )

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the labels."""
        batch = to_device(batch, model)
        return functional.cross_entropy(logits(model, batch).float(), batch["labels"])

    def calibration(self) -> list[Batch]:
        """A few fine-tuning batches."""
        return [self._batches.full_length(step) for step in range(CALIBRATION_BATCHES)]

    def latency_input(self, batch_size: int) -> Batch:
        """Real pre-training text of full length."""
        return self._pretraining.latency_input(batch_size)


def _transfer_encoder(pretrained: nn.Module, classifier: nn.Module) -> None:
    classifier.get_submodule("roberta").load_state_dict(
        pretrained.get_submodule("roberta").state_dict()
    )
