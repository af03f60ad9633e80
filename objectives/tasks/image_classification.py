"""Image classification with a Vision Transformer (Dosovitskiy et al. 2021, arXiv 2010.11929)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

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
from objectives.measurement.score import Predict, Score, logits_of
from objectives.measurement.scores.classes import score_classifier
from objectives.references.classifiers import image_references
from objectives.references.reference import Reference
from objectives.tasks.from_sources import FromSources
from objectives.training.path import Epoch
from spaces.file import tasks


class ImageClassification(FromSources, tasks.ImageClassification):
    """The image classification task."""

    @cached_property
    def train_batches(self) -> LabelledImageBatches:
        """Batches of the training split."""
        return LabelledImageBatches(
            self.prepared.labelled_images("train"), self.batch_size, self.seed
        )

    @cached_property
    def epoch(self) -> Epoch:
        """The images of the training split, with their patches."""
        images = len(self.prepared.labelled_images("train").labels)
        return Epoch(images, images * self.workload.sequence_length)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the labels."""
        batch = to_device(batch, model)
        return functional.cross_entropy(logits(model, batch).float(), batch["labels"])

    def score(self, model: nn.Module, split: str) -> Score:
        """Score and cross-entropy on a split."""
        return self._score(logits_of(model), split)

    def _score(self, predict: Predict, split: str) -> Score:
        images = self.prepared.labelled_images(split)
        rows = np.arange(len(images.labels))
        groups = self.prepared.groups(split)
        starts = range(0, len(rows), EVALUATION_BATCH_SIZE)
        return score_classifier(
            predict,
            (labelled_image_batch(images, rows[s : s + EVALUATION_BATCH_SIZE]) for s in starts),
            groups=rows if groups is None else groups,
            metric=self.metric_name,
        )

    def references(self) -> Iterator[Reference]:
        """The majority class, and logistic regression on pixels."""
        images = self.prepared.labelled_images("train")
        return image_references(images, self.workload.classes, self._score)

    def latency_input(self, batch_size: int) -> Batch:
        """Real images."""
        images = self.prepared.labelled_images("validation")
        rows = np.arange(batch_size) % len(images.labels)
        return {"pixel_values": labelled_image_batch(images, rows)["pixel_values"]}
