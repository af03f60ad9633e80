"""Token classification: the tag of each word of a sentence."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from objectives.data.batches import Batch, labelled_text_batch
from objectives.data.encoding import IGNORED
from objectives.data.errors import DataError
from objectives.data.prepared_data import LabelledTexts
from objectives.data.row_order import Rows
from objectives.measurement.score import Predict, Score
from objectives.measurement.scores.tags import SPAN_TAG, score_tags
from objectives.references.reference import Reference
from objectives.references.tags import frequent_tags
from objectives.tasks.base import Task
from objectives.tasks.context import TaskContext
from objectives.tasks.labelled.fine_tuned import FineTunedTexts
from objectives.tasks.labelled.from_checkpoint import TextsFromCheckpoint
from objectives.tasks.labelled.texts import OnLabelledTexts, evaluation_rows
from spaces.file import tasks


class TagsOfWords(OnLabelledTexts):
    """A task whose labels are the tags of words, at the first token of each."""

    def check(self) -> None:
        """Refuse tags that say nothing of spans where models are scored by these.

        Raises:
            DataError: They are others, or there are too few examples.
        """
        super().check()
        others = [name for name in self.prepared.label_names if not SPAN_TAG.fullmatch(name)]
        if self.metric_name == "f1" and others:
            raise DataError(
                f"objectives: f1 is that of spans, whose tags are O, B-…, I-…, E-… or S-…; "
                f"data.tagged has {others[0]!r}; score by accuracy or macro-f1"
            )

    def label_loss(
        self, outputs: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0
    ) -> torch.Tensor:
        """Mean cross-entropy of the tags of words, smoothed as that of classes."""
        return functional.cross_entropy(
            outputs.flatten(0, -2),
            labels.flatten(),
            ignore_index=IGNORED,
            label_smoothing=smoothing,
        )

    def divergence(
        self, first: torch.Tensor, second: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """The mean over words of the mean of both Kullback-Leibler divergences of predictions."""
        one, other = (functional.log_softmax(each, dim=-1) for each in (first, second))
        # Both divergences together: sum of (p - q) (log p - log q).
        of_tokens = ((one.exp() - other.exp()) * (one - other)).sum(-1) / 2.0
        has_tag = labels != IGNORED
        return (of_tokens * has_tag).sum() / has_tag.sum().clamp(min=1)

    def terms(self, batch: Batch) -> int:
        """Words of a batch that have a tag."""
        return int((batch["labels"] != IGNORED).sum())

    def score_rows(self, predict: Predict, examples: LabelledTexts, rows: Rows) -> Score:
        """Score and cross-entropy of logits on some of the sentences of a split."""
        order = evaluation_rows(examples, rows)
        batches = (labelled_text_batch(examples, each) for each in order)
        groups = examples.groups[np.concatenate(order)]
        return score_tags(predict, batches, groups, self.metric_name, self.prepared.label_names)

    def references(self) -> Iterator[Reference]:
        """The most frequent tag of each word."""
        workload = self.workload
        yield frequent_tags(
            self.train_examples, workload.vocabulary_size, workload.classes, self.score_of
        )


class TokenClassification(TagsOfWords, FineTunedTexts, tasks.TokenClassification):
    """The token classification task: named entities, parts of speech."""

    @classmethod
    def variant(cls, context: TaskContext) -> type[Task]:
        """From a checkpoint, the budget is fine-tuning."""
        return cls if context.start is None else TokenClassificationFromCheckpoint


class TokenClassificationFromCheckpoint(
    TagsOfWords, TextsFromCheckpoint, tasks.TokenClassification
):
    """The token classification task for models that start from a checkpoint."""
