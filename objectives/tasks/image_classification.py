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
from objectives.tasks.base import CALIBRATION_BATCHES
from objectives.training.paths import TrainingPath
from objectives.training.stages import LearningProblem, Stages
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile

DROPOUT = 0.1


class ImageClassification:
    """The image classification task.

    Args:
        search: The search file.
        data: Its prepared data.
    """

    def __init__(self, search: SearchFile, data: PreparedData) -> None:
        self._data = data
        self._stages = Stages(search, data.fingerprint)
        self._train = LabelledImageBatches(
            data.labelled_images("train"), search.training.batch_size, search.seed
        )
        self.problem = LearningProblem(
            name="image-classification",
            workload=search.workload,
            batches=self._train,
            loss=self.loss,
            score=self.score,
            dropout=DROPOUT,
        )

    def path(self, configuration: Configuration) -> TrainingPath:
        """The stable path and its decay."""
        return self._stages.stable_and_decay(configuration, self.problem)

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

    def calibration(self) -> list[Batch]:
        """A few training batches."""
        return [self._train(step) for step in range(CALIBRATION_BATCHES)]

    def latency_input(self, batch_size: int) -> Batch:
        """Real images."""
        pictures = self._data.labelled_images("validation")
        rows = np.arange(batch_size) % len(pictures.labels)
        return {"pixel_values": labelled_image_batch(pictures, rows)["pixel_values"]}
