"""Text classification from a checkpoint, by labels alone or by a teacher's predictions too."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from objectives.data.batches import (
    EVALUATION_BATCH_SIZE,
    Batch,
    BucketedBatches,
    labelled_text_batch,
    logits,
    to_device,
)
from objectives.data.prepared_data import LabelledTexts
from objectives.data.row_order import Rows, rows_by_length
from objectives.measurement.score import logits_of
from objectives.store import heartbeat
from objectives.tasks.labelled.classes import ClassesOfTexts
from objectives.tasks.labelled.from_checkpoint import TextsFromCheckpoint
from objectives.tasks.labelled.teachers import Teachers
from objectives.training.distillation import distilled_loss
from objectives.training.path import TrainingPath
from spaces.cost.architecture import Architecture
from spaces.cost.checkpoint import checkpoint_of
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file import tasks
from spaces.file.training import Distillation

TEACHER_LOGITS = "teacher_logits"


class ClassificationFromCheckpoint(ClassesOfTexts, TextsFromCheckpoint, tasks.Classification):
    """The classification task for models that start from a checkpoint, and for their teacher."""

    @property
    def whole(self) -> Architecture:
        """The architecture that keeps all of the checkpoint."""
        checkpoint = checkpoint_of(self.workload.checkpoint)
        return checkpoint.architecture(checkpoint.depth, checkpoint.attention)

    def teacher_path(self) -> TrainingPath:
        """The training of the whole checkpoint at the largest budget, from the labels alone."""
        budget = self.stages.largest_budget
        configuration = Configuration(self.whole, budget, Compression(), self.seed)
        return self.stages.stable_and_decay(configuration, self)

    def train_logits(self, model: nn.Module) -> npt.NDArray[np.float32]:
        """The logits of a model on the training examples, ``(examples, classes)``."""
        examples = self.train_examples
        found = np.empty((len(examples.labels), self.workload.classes), dtype=np.float32)
        order = rows_by_length(examples.lengths, EVALUATION_BATCH_SIZE)
        predict = logits_of(model)
        with torch.inference_mode():
            for rows in order:
                heartbeat.beat("predicting")
                found[rows] = predict(labelled_text_batch(examples, rows)).cpu().numpy()
        return found


class DistilledClassification(ClassificationFromCheckpoint):
    """The task of students. The whole checkpoint at any budget learns from the labels alone."""

    @property
    def kind(self) -> str:
        """Part of the key of its paths."""
        return "distilled-classification"

    @property
    def settings(self) -> Distillation:
        """How students learn from the teacher."""
        settings = self.context.training.distillation
        assert settings is not None
        return settings

    @property
    def teachers(self) -> Teachers:
        """The teacher of each seed."""
        teachers = self.context.teachers
        assert teachers is not None, "the teachers are those of an objective"
        return teachers

    @cached_property
    def _from_labels(self) -> ClassificationFromCheckpoint:
        return self.recast(ClassificationFromCheckpoint)

    def path(self, configuration: Configuration) -> TrainingPath:
        """A stable path and a decay on labels and the teacher's predictions."""
        if configuration.architecture == self.whole:
            return self._from_labels.path(configuration)
        return super().path(configuration)

    def teacher_path(self) -> TrainingPath:
        """The training of the whole checkpoint at the largest budget, from the labels alone."""
        return self._from_labels.teacher_path()

    def calibration(self) -> list[Batch]:
        """Training batches, padded to full length, without a teacher."""
        return self._from_labels.calibration()

    @property
    def identity(self) -> dict[str, Any]:
        """The settings and the teacher."""
        teacher = self.teachers.key(self.seed)
        return {**super().identity, **self.settings.model_dump(), "teacher": teacher}

    @cached_property
    def train_batches(self) -> BucketedBatches:
        """Batches of the training examples, with the teacher's logits of each."""
        examples = self.prepared.labelled_texts("train")
        return BucketedBatches(self._batch, examples, self.batch_size, self.seed)

    def _batch(self, examples: LabelledTexts, rows: Rows, *, full_length: bool = False) -> Batch:
        batch = labelled_text_batch(examples, rows, full_length=full_length)
        of_teacher = torch.from_numpy(self.teachers.logits(self.seed)[rows])
        return {**batch, TEACHER_LOGITS: of_teacher}

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """``distilled_loss``; of batches without a teacher, the cross-entropy of the labels."""
        if TEACHER_LOGITS not in batch:
            return super().loss(model, batch)
        batch = to_device(batch, model)
        outputs = logits(model, batch).float()
        return distilled_loss(
            outputs,
            batch[TEACHER_LOGITS],
            batch["labels"],
            temperature=self.settings.temperature,
            weight=self.settings.weight,
        )
