"""Image classification with a Vision Transformer (Dosovitskiy et al. 2021, arXiv 2010.11929)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import (
    EVALUATION_BATCH_SIZE,
    Batch,
    LabelledImageBatches,
    labelled_image_batch,
    logits,
    to_device,
)
from objectives.data.prepared_data import PreparedData
from objectives.measurement.score import Score, score_classifier
from objectives.tasks.base import Task
from objectives.training.learning_problem import LearningProblem
from objectives.training.stages import Stages
from spaces.cost.workload import Workload

DROPOUT = 0.1


class ImageClassification(Task):
    """The image classification task.

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
        problem = LearningProblem(
            name="image-classification",
            workload=workload,
            batches=LabelledImageBatches(data.labelled_images("train"), batch_size, seed),
            loss=self.loss,
            score=self.score,
            dropout=DROPOUT,
        )
        super().__init__(problem, stages)

    def score(self, model: nn.Module, split: str) -> Score:
        """Accuracy and cross-entropy on a split."""
        pictures = self._data.labelled_images(split)
        rows = np.arange(len(pictures.labels))
        starts = range(0, len(rows), EVALUATION_BATCH_SIZE)
        return score_classifier(
            model,
            (labelled_image_batch(pictures, rows[s : s + EVALUATION_BATCH_SIZE]) for s in starts),
        )

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the labels."""
        batch = to_device(batch, model)
        return functional.cross_entropy(logits(model, batch).float(), batch["labels"])

    def latency_input(self, batch_size: int) -> Batch:
        """Real images."""
        pictures = self._data.labelled_images("validation")
        rows = np.arange(batch_size) % len(pictures.labels)
        return {"pixel_values": labelled_image_batch(pictures, rows)["pixel_values"]}
