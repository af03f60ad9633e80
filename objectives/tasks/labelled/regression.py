"""Regression: a number of a text, or of a pair of texts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import labelled_text_batch
from objectives.data.prepared_data import LabelledTexts
from objectives.data.row_order import Rows
from objectives.measurement.score import Predict, Score
from objectives.measurement.scores.numbers import score_numbers
from objectives.references.numbers import number_references
from objectives.references.reference import Reference
from objectives.tasks.base import Task
from objectives.tasks.context import TaskContext
from objectives.tasks.labelled.fine_tuned import FineTunedTexts
from objectives.tasks.labelled.from_checkpoint import TextsFromCheckpoint
from objectives.tasks.labelled.texts import OnLabelledTexts, evaluation_rows
from spaces.file import tasks


class NumbersOfTexts(OnLabelledTexts):
    """A task whose labels are numbers of texts, standardised by the training split."""

    def label_loss(
        self, outputs: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0
    ) -> torch.Tensor:
        """Mean squared error of standardised labels; there are no classes to smooth."""
        return functional.mse_loss(outputs.squeeze(-1), labels)

    def divergence(
        self, first: torch.Tensor, second: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Mean squared difference of two predictions."""
        return functional.mse_loss(first, second)

    def score_rows(self, predict: Predict, examples: LabelledTexts, rows: Rows) -> Score:
        """Score and mean squared error of predictions on some of the examples of a split."""
        order = evaluation_rows(examples, rows)
        batches = (labelled_text_batch(examples, each) for each in order)
        groups = examples.groups[np.concatenate(order)]
        _, deviation = self.prepared.label_scale
        return score_numbers(predict, batches, groups, self.metric_name, deviation=deviation)

    def references(self) -> Iterator[Reference]:
        """The training mean, and ridge regression on token counts."""
        return number_references(
            self.train_examples, self.workload.vocabulary_size, self.metric_name, self.score_of
        )


class Regression(NumbersOfTexts, FineTunedTexts, tasks.Regression):
    """The regression task, of texts or of pairs of texts."""

    @classmethod
    def variant(cls, context: TaskContext) -> type[Task]:
        """From a checkpoint, the budget is fine-tuning."""
        return cls if context.start is None else RegressionFromCheckpoint

    def held_out_figures(self, model: nn.Module) -> dict[str, float]:
        """As of ``FineTunedTexts``; of an error, the fraction of the deviation that it is less."""
        figures = super().held_out_figures(model)
        if self.metric_name != "rmse":
            return figures
        return {**figures, "score": 1.0 - figures["score"] / self.prepared.label_scale[1]}


class RegressionFromCheckpoint(NumbersOfTexts, TextsFromCheckpoint, tasks.Regression):
    """The regression task for models that start from a checkpoint."""
