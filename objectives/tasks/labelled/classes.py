"""Losses, scores and references of classifiers of texts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from objectives.data.batches import labelled_text_batch
from objectives.data.prepared_data import LabelledTexts
from objectives.data.row_order import Rows
from objectives.measurement.score import Predict, Score
from objectives.measurement.scores.classes import score_classifier
from objectives.references.classifiers import text_references
from objectives.references.reference import Reference
from objectives.tasks.labelled.texts import OnLabelledTexts, evaluation_rows


class ClassesOfTexts(OnLabelledTexts):
    """A task whose labels are the classes of texts."""

    def label_loss(
        self, outputs: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0
    ) -> torch.Tensor:
        """Cross-entropy of the labels, smoothed (Müller et al. 2019, arXiv 1906.02629)."""
        return functional.cross_entropy(outputs, labels, label_smoothing=smoothing)

    def divergence(
        self, first: torch.Tensor, second: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """The mean of both Kullback-Leibler divergences of predictions.

        Its gradient goes through both (arXiv 2106.14448, equation 2).
        """
        one, other = (functional.log_softmax(each, dim=-1) for each in (first, second))
        divergences = [
            functional.kl_div(a, b, reduction="batchmean", log_target=True)
            for a, b in ((one, other), (other, one))
        ]
        return torch.stack(divergences).mean()

    def score_rows(self, predict: Predict, examples: LabelledTexts, rows: Rows) -> Score:
        """Score and cross-entropy of logits on some of the examples of a split."""
        order = evaluation_rows(examples, rows)
        batches = (labelled_text_batch(examples, each) for each in order)
        groups = examples.groups[np.concatenate(order)]
        return score_classifier(predict, batches, groups, self.metric_name)

    def references(self) -> Iterator[Reference]:
        """The majority class, and logistic regression on token counts."""
        workload = self.workload
        return text_references(
            self.train_examples, workload.vocabulary_size, workload.classes, self.score_of
        )
