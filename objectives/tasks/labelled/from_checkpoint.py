"""Tasks on labelled texts from a checkpoint: the budget is fine-tuning."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import nn

from objectives.data.batches import Batch, BucketedBatches, labelled_text_batch, logits, to_device
from objectives.data.encoding import END, START
from objectives.tasks.labelled.texts import OnLabelledTexts
from objectives.training.path import Epoch


class TextsFromCheckpoint(OnLabelledTexts):
    """A task whose models start from a checkpoint: all of the budget trains them on the labelled
    texts, on a stable path that budgets share."""

    @property
    def kind(self) -> str:
        """Part of the key of its paths."""
        return f"{self.context.name}-from-checkpoint"

    @cached_property
    def train_batches(self) -> BucketedBatches:
        """Batches of the training examples."""
        return BucketedBatches(labelled_text_batch, self.train_examples, self.batch_size, self.seed)

    @cached_property
    def epoch(self) -> Epoch:
        """The training examples."""
        lengths = self.train_examples.lengths
        return Epoch(len(lengths), int(lengths.sum()))

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Loss of the labels."""
        batch = to_device(batch, model)
        return self.label_loss(logits(model, batch).float(), batch["labels"])

    def latency_input(self, batch_size: int) -> Batch:
        """Real text of full length: labelled texts, one after another."""
        texts = self.prepared.labelled_texts("validation")
        pairs = zip(texts.tokens, texts.lengths, strict=True)
        body = np.concatenate([tokens[1 : length - 1] for tokens, length in pairs])
        tokens = np.resize(body, (batch_size, self.workload.sequence_length)).astype(np.int64)
        tokens[:, 0], tokens[:, -1] = START, END
        return {"input_ids": torch.from_numpy(tokens)}
