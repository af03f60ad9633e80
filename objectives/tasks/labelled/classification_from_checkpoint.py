"""Text classification from a checkpoint: the budget is fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt
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
from objectives.data.encoding import END, START
from objectives.data.prepared_data import LabelledTexts
from objectives.data.row_order import rows_by_length
from objectives.measurement.score import Predict, Score, logits_of
from objectives.references.classifiers import text_references
from objectives.references.reference import Reference
from objectives.store import heartbeat
from objectives.tasks.base import CALIBRATION_BATCHES
from objectives.tasks.from_sources import FromSources
from objectives.tasks.labelled.text_scores import score_texts
from objectives.training.path import Epoch, TrainingPath
from spaces.cost.architecture import Architecture
from spaces.cost.checkpoint import checkpoint_of
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file import tasks


class ClassificationFromCheckpoint(FromSources, tasks.Classification):
    """The classification task for models that start from a checkpoint: all of the budget trains
    them on the labelled texts, on a stable path that budgets share."""

    @property
    def kind(self) -> str:
        """Part of the key of its paths."""
        return "classification-from-checkpoint"

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
        examples = self._train_examples
        found = np.empty((len(examples.labels), self.workload.classes), dtype=np.float32)
        order = rows_by_length(examples.lengths, EVALUATION_BATCH_SIZE)
        predict = logits_of(model)
        with torch.inference_mode():
            for rows in order:
                heartbeat.beat("predicting")
                found[rows] = predict(labelled_text_batch(examples, rows)).cpu().numpy()
        return found

    @cached_property
    def _train_examples(self) -> LabelledTexts:
        return self.prepared.labelled_texts("train")

    @cached_property
    def train_batches(self) -> BucketedBatches:
        """Batches of the training examples."""
        return BucketedBatches(
            labelled_text_batch, self._train_examples, self.batch_size, self.seed
        )

    @cached_property
    def epoch(self) -> Epoch:
        """The training examples."""
        lengths = self._train_examples.lengths
        return Epoch(len(lengths), int(lengths.sum()))

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the labels."""
        batch = to_device(batch, model)
        return functional.cross_entropy(logits(model, batch).float(), batch["labels"])

    def score(self, model: nn.Module, split: str) -> Score:
        """Score and cross-entropy on a split."""
        return self._score(logits_of(model), split)

    def _score(self, predict: Predict, split: str) -> Score:
        examples = self.prepared.labelled_texts(split)
        return score_texts(predict, examples, np.arange(len(examples.labels)), self.metric_name)

    def references(self) -> Iterator[Reference]:
        """The majority class, and logistic regression on token counts."""
        workload = self.workload
        return text_references(
            self._train_examples, workload.vocabulary_size, workload.classes, self._score
        )

    def calibration(self) -> list[Batch]:
        """Training batches, padded to full length."""
        return [self.train_batches.full_length(step) for step in range(CALIBRATION_BATCHES)]

    def latency_input(self, batch_size: int) -> Batch:
        """Real text of full length: labelled texts, one after another."""
        texts = self.prepared.labelled_texts("validation")
        pairs = zip(texts.tokens, texts.lengths, strict=True)
        body = np.concatenate([tokens[1 : length - 1] for tokens, length in pairs])
        tokens = np.resize(body, (batch_size, self.workload.sequence_length)).astype(np.int64)
        tokens[:, 0], tokens[:, -1] = START, END
        return {"input_ids": torch.from_numpy(tokens)}
