"""Causal language modelling: next-token prediction with Llama's blocks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import nn

from objectives.data.batches import Batch, CausalBatches, logits, to_device
from objectives.data.encoding import load_tokenizer, text_bytes
from objectives.data.row_order import Rows
from objectives.measurement.score import (
    Passage,
    Predict,
    Score,
    bits_per_byte_score,
    by_parts,
    perplexity_score,
    window_groups,
)
from objectives.models.decoding import Decoding
from objectives.models.vocabulary_loss import vocabulary_loss
from objectives.references.ngrams import next_token_references
from objectives.references.reference import Reference
from objectives.store import heartbeat
from objectives.tasks.from_sources import FromSources
from objectives.training.path import Epoch
from spaces.file import tasks
from spaces.file.space import Measurement
from spaces.grid.decoding import decoding_lengths

EVALUATION_BATCH = 32
MAX_EVALUATION = 512
"""Sequences that a score is measured on, spread over the split."""


class CausalLanguageModel(FromSources, tasks.CausalLanguageModel):
    """The causal language modelling task; scored by ``perplexity`` or ``bits-per-byte``."""

    @cached_property
    def train_batches(self) -> CausalBatches:
        """Batches of the training split."""
        return self._batches("train")

    @cached_property
    def epoch(self) -> Epoch:
        """The windows of the training text."""
        windows = self.train_batches.sequences
        return Epoch(windows, windows * self.workload.sequence_length)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the next tokens."""
        batch = to_device(batch, model)
        return vocabulary_loss(model, partial(logits, model, batch), self.targets(batch))

    def targets(self, batch: Batch) -> torch.Tensor:
        """The next tokens, ``(predictions,)``."""
        return batch["targets"].flatten()

    def score(self, model: nn.Module, split: str) -> Score:
        """Perplexity or bits per byte of a split, in separate windows."""
        return self._score(self._losses(model), split)

    def passages(self, model: nn.Module, split: str) -> Iterator[Passage]:
        """The windows that a score is measured on, with the mean loss of their tokens."""
        batches, losses = self._batches(split), self._losses(model)
        rows = _scored_rows(batches)
        for start in range(0, len(rows), EVALUATION_BATCH):
            windows = batches.windows(rows[start : start + EVALUATION_BATCH])
            with torch.inference_mode():
                means = losses(windows).mean(1).tolist()
            yield from map(Passage, windows["targets"].tolist(), means)

    def _losses(self, model: nn.Module) -> Predict:
        """The losses ``(windows, tokens)`` of a model on some windows."""

        def losses(batch: Batch) -> torch.Tensor:
            batch = to_device(batch, model)
            predict = partial(logits, model, batch)
            return vocabulary_loss(model, predict, batch["targets"], reduction="none")

        return by_parts(model, losses)

    def _score(self, predict: Predict, split: str) -> Score:
        """Score the losses ``(windows, tokens)`` that a function has on the windows of a split."""
        batches = self._batches(split)
        rows = _scored_rows(batches)
        count = len(rows)
        losses: list[float] = []
        sizes: list[int] = []
        with torch.inference_mode():
            for start in range(0, count, EVALUATION_BATCH):
                heartbeat.beat("scoring")
                windows = batches.windows(rows[start : start + EVALUATION_BATCH])
                losses.extend(predict(windows).mean(1).tolist())
                if self.metric_name == "bits-per-byte":
                    sizes += text_bytes(self._tokenizer, windows["targets"].tolist())
        length = self.workload.sequence_length
        groups = window_groups(batches.stream, rows * length)
        if self.metric_name == "bits-per-byte":
            sums = [loss * length for loss in losses]
            return bits_per_byte_score(sums, sizes, groups, count * length)
        return perplexity_score(losses, groups, count * length)

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self.prepared.tokenizer_file)

    def references(self) -> Iterator[Reference]:
        """N-gram models; like trials, they read nothing before a window."""
        stream, vocabulary = self.prepared.token_stream("train"), self.workload.vocabulary_size
        return next_token_references(stream, vocabulary, self._score)

    def latency_input(self, batch_size: int) -> Batch:
        """Real text of full length."""
        batches = self._batches("validation")
        rows = np.arange(batch_size) % batches.sequences
        return {"input_ids": batches.windows(rows)["input_ids"]}

    def decoding(self, measurement: Measurement) -> Decoding:
        """The greedy continuation of real text."""
        lengths = decoding_lengths(self.workload, measurement, has_decoder=False)
        text = self.latency_input(measurement.batch_size)["input_ids"]
        tokens = text[:, : lengths.prompt_tokens]
        inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        return Decoding(inputs, lengths.new_tokens)

    def _batches(self, split: str) -> CausalBatches:
        return CausalBatches(
            stream=self.prepared.token_stream(split),
            sequence_length=self.workload.sequence_length,
            batch_size=self.batch_size,
            seed=self.seed,
        )


def _scored_rows(batches: CausalBatches) -> Rows:
    """The windows that a score is measured on."""
    count = min(batches.sequences, MAX_EVALUATION)
    return np.linspace(0, batches.sequences - 1, count).astype(np.int64)
