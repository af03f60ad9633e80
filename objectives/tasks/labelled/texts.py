"""What all tasks on labelled texts have in common."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property

import numpy as np
import torch
from torch import nn

from objectives.data.batches import EVALUATION_BATCH_SIZE, Batch, BucketedBatches
from objectives.data.prepared_data import LabelledTexts
from objectives.data.row_order import Rows, rows_by_length
from objectives.measurement.score import Predict, Score, logits_of
from objectives.tasks.base import CALIBRATION_BATCHES
from objectives.tasks.from_sources import FromSources
from spaces.file import tasks


class OnLabelledTexts(FromSources, tasks.OnLabelledTexts):
    """A task whose models read a text, or a pair of texts, and predict its label."""

    @abstractmethod
    def label_loss(
        self, outputs: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0
    ) -> torch.Tensor:
        """Loss of the outputs of models, such as logits ``(batch, classes)``.

        Args:
            labels: Those of a batch.
            smoothing: Part of the target that goes to all classes alike, where there are classes.
        """

    @abstractmethod
    def divergence(
        self, first: torch.Tensor, second: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """How much the outputs of two passes over the same texts differ, for R-Drop (Liang et al.
        2021, arXiv 2106.14448)."""

    @abstractmethod
    def score_rows(self, predict: Predict, examples: LabelledTexts, rows: Rows) -> Score:
        """Score and loss of the outputs of a model on some of the examples of a split."""

    @property
    @abstractmethod
    def train_batches(self) -> BucketedBatches:
        """Batches of the training examples."""

    @cached_property
    def train_examples(self) -> LabelledTexts:
        """Those of the training split."""
        return self.prepared.labelled_texts("train")

    def score(self, model: nn.Module, split: str) -> Score:
        """Score and loss on a split."""
        return self.score_of(logits_of(model), split)

    def score_of(self, predict: Predict, split: str) -> Score:
        """Score and loss of what a function predicts for a split."""
        examples = self.prepared.labelled_texts(split)
        return self.score_rows(predict, examples, np.arange(len(examples.labels)))

    def calibration(self) -> list[Batch]:
        """Training batches, padded to full length."""
        return [self.train_batches.full_length(step) for step in range(CALIBRATION_BATCHES)]


def evaluation_rows(examples: LabelledTexts, rows: Rows) -> list[Rows]:
    """Rows of examples in the batches of a score, of similar length."""
    order = rows_by_length(examples.lengths[rows], EVALUATION_BATCH_SIZE)
    return [rows[each] for each in order]
