"""Masked language modelling (Devlin et al. 2019, arXiv 1810.04805)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import nn

from objectives.data.batches import Batch, MaskedBatches, to_device
from objectives.measurement.score import (
    Passage,
    Predict,
    Score,
    by_parts,
    perplexity_score,
    window_groups,
)
from objectives.models.forward import vocabulary_logits
from objectives.models.vocabulary_loss import vocabulary_loss
from objectives.references.masked_bigrams import masked_references
from objectives.references.reference import Reference
from objectives.store import heartbeat
from objectives.tasks.from_sources import FromSources
from objectives.training.path import Epoch
from spaces.file import tasks

EVALUATION_BATCH = 64
MAX_EVALUATION = 1024
"""Sequences that a score is measured on: about 10,000 predicted tokens."""
EVALUATION_SEED = 0
"""Seed of the masks of a score. Scores of models that differ in their seed of training are measured
on the same tokens, so that their spread is that of training alone."""


class MaskedLanguageModel(FromSources, tasks.MaskedLanguageModel):
    """The masked language modelling task; also the pre-training of classifiers."""

    @cached_property
    def train_batches(self) -> MaskedBatches:
        """Batches of the training split."""
        return self._batches("train", self.batch_size, self.seed)

    @cached_property
    def epoch(self) -> Epoch:
        """The windows of the training text."""
        windows = self.train_batches.sequences
        return Epoch(windows, windows * self.workload.sequence_length)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the masked tokens."""
        batch = to_device(batch, model)
        return vocabulary_loss(model, partial(_masked_logits, model, batch), self.targets(batch))

    def predictions(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Logits at the masked positions, ``(positions, vocabulary)``."""
        return _masked_logits(model, batch).float()

    def targets(self, batch: Batch) -> torch.Tensor:
        """The original tokens there, ``(positions,)``."""
        return batch["targets"]

    def score(self, model: nn.Module, split: str) -> Score:
        """Perplexity of the masked tokens of a split, the same tokens for every seed."""
        return self._score(self._losses(model), split)

    def passages(self, model: nn.Module, split: str) -> Iterator[Passage]:
        """The windows that a score is measured on, with the mean loss of their masked tokens."""
        batches = self._scored(split)
        for starts, losses, _ in self._evaluated(batches, self._losses(model)):
            for start, loss in zip(starts, losses, strict=True):
                end = start + batches.sequence_length - 2
                yield Passage(batches.stream[start:end].tolist(), loss)

    def _losses(self, model: nn.Module) -> Predict:
        """The losses ``(positions,)`` of a model at the masked positions of a batch."""

        def losses(batch: Batch) -> torch.Tensor:
            batch = to_device(batch, model)
            predict = partial(_masked_logits, model, batch)
            return vocabulary_loss(model, predict, batch["targets"], reduction="none")

        return by_parts(model, losses)

    def _score(self, predict: Predict, split: str) -> Score:
        """Score the losses ``(positions,)`` that a function has at the masked positions."""
        batches = self._scored(split)
        losses: list[float] = []
        starts: list[int] = []
        tokens = 0
        for some_starts, some_losses, predicted in self._evaluated(batches, predict):
            starts += some_starts
            losses += some_losses
            tokens += predicted
        groups = window_groups(batches.stream, np.asarray(starts))
        return perplexity_score(losses, groups, tokens)

    def _scored(self, split: str) -> MaskedBatches:
        return self._batches(split, EVALUATION_BATCH, EVALUATION_SEED)

    def _evaluated(
        self, batches: MaskedBatches, predict: Predict
    ) -> Iterator[tuple[list[int], list[float], int]]:
        """Of each batch: where its windows begin, their mean losses, and its masked tokens."""
        count = min(batches.sequences, MAX_EVALUATION)
        for start in range(0, count, EVALUATION_BATCH):
            heartbeat.beat("scoring")
            # An epoch visits every sequence once; its last batch may begin the next epoch.
            rows = min(EVALUATION_BATCH, count - start)
            step = start // EVALUATION_BATCH
            batch = _first(batches(step), rows)
            with torch.inference_mode():
                losses = predict(batch).view(rows, -1).mean(1).tolist()
            yield batches.starts(step)[:rows].tolist(), losses, len(batch["targets"])

    def references(self) -> Iterator[Reference]:
        """N-gram models, on the same masked tokens as trials."""
        stream, vocabulary = self.prepared.token_stream("train"), self.workload.vocabulary_size
        return masked_references(stream, vocabulary, self._score)

    def latency_input(self, batch_size: int) -> Batch:
        """Real text of full length."""
        return {
            "input_ids": self._batches("validation", batch_size, EVALUATION_SEED)(0)["input_ids"]
        }

    def _batches(self, split: str, batch_size: int, seed: int) -> MaskedBatches:
        return MaskedBatches(
            stream=self.prepared.token_stream(split),
            sequence_length=self.workload.sequence_length,
            batch_size=batch_size,
            vocabulary_size=self.workload.vocabulary_size,
            seed=seed,
        )


def _first(batch: Batch, rows: int) -> Batch:
    """The first sequences of a batch."""
    return {name: t[: len(t) * rows // len(batch["input_ids"])] for name, t in batch.items()}


def _masked_logits(model: Any, batch: Batch) -> torch.Tensor:
    """Logits ``(positions, vocabulary)`` at the masked positions.

    Only those go through the vocabulary head, which takes most of the time of small models.
    """
    hidden = model.base_model(batch["input_ids"]).last_hidden_state
    return vocabulary_logits(model, hidden.flatten(0, 1)[batch["positions"]])
