"""Translation with an encoder and a decoder (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import (
    EVALUATION_BATCH_SIZE,
    Batch,
    BucketedBatches,
    logits,
    sentence_pair_batch,
    to_device,
)
from objectives.data.encoding import END, PAD, load_tokenizer
from objectives.data.row_order import rows_by_length
from objectives.measurement.example_scores import IGNORED
from objectives.measurement.score import Score, bleu_score
from objectives.models.decoding import translate
from objectives.references.reference import Reference
from objectives.store import heartbeat
from objectives.tasks.base import CALIBRATION_BATCHES
from objectives.tasks.from_sources import FromSources
from objectives.training.path import Epoch
from spaces.file import tasks

LABEL_SMOOTHING = 0.1
"""Of the training loss alone (Vaswani et al. 2017, section 5.4)."""


class Translation(FromSources, tasks.Translation):
    """The translation task."""

    @cached_property
    def train_batches(self) -> BucketedBatches:
        """Batches of the training split."""
        pairs = self.prepared.sentence_pairs("train")
        return BucketedBatches(sentence_pair_batch, pairs, self.batch_size, self.seed)

    @cached_property
    def epoch(self) -> Epoch:
        """The sentence pairs of the training split, with the tokens of both sides."""
        lengths = self.prepared.sentence_pairs("train").lengths
        return Epoch(len(lengths), int(lengths.sum()))

    def terms(self, batch: Batch) -> int:
        """Tokens of the translations."""
        return int((batch["targets"] != PAD).sum())

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the next tokens of the translation, with label smoothing."""
        return _cross_entropy(
            model, to_device(batch, model), reduction="mean", smoothing=LABEL_SMOOTHING
        )

    def targets(self, batch: Batch) -> torch.Tensor:
        """The next tokens of the translation, ``(predictions,)``; ``IGNORED`` after its end."""
        targets = batch["targets"].flatten()
        return torch.where(targets == PAD, IGNORED, targets)

    def score(self, model: nn.Module, split: str) -> Score:
        """BLEU of the decoded translations of a split, with a bootstrap interval (Koehn 2004)."""
        pairs = self.prepared.sentence_pairs(split)
        references = self.prepared.references(split)
        tokenizer = load_tokenizer(self.prepared.tokenizer_file)
        texts = [""] * len(references)
        loss, tokens = 0.0, 0
        model.eval()
        with torch.inference_mode():
            for rows in rows_by_length(pairs.source_lengths, EVALUATION_BATCH_SIZE):
                heartbeat.beat("scoring")
                batch = to_device(sentence_pair_batch(pairs, rows), model)
                summed = _cross_entropy(model, batch, reduction="sum")
                loss += summed.item()
                tokens += self.terms(batch)
                decoded = translate(
                    model,
                    batch,
                    tokenizer,
                    start=self.prepared.target_start,
                    beams=self.beams,
                    sequence_length=self.workload.sequence_length,
                )
                for row, text in zip(rows, decoded, strict=True):
                    texts[row] = text
        return bleu_score(texts, references, loss / tokens)

    def references(self) -> Iterator[Reference]:
        """The source as its own translation."""
        how = "the source as its own translation, cut as models read it; nothing to store"
        yield Reference("copying the source", how, 0, self._score_of_source)

    def _score_of_source(self, split: str) -> Score:
        tokenizer = load_tokenizer(self.prepared.tokenizer_file)
        sources = self.prepared.sentence_pairs(split).sources
        texts = [tokenizer.decode(row, skip_special_tokens=True) for row in sources.tolist()]
        return bleu_score(texts, self.prepared.references(split), loss=math.nan)

    @property
    def scored_by(self) -> dict[str, Any]:
        """The beams."""
        return {"beams": self.beams}

    def calibration(self) -> list[Batch]:
        """Training batches, padded to full length."""
        return [self.train_batches.full_length(step) for step in range(CALIBRATION_BATCHES)]

    def latency_input(self, batch_size: int) -> Batch:
        """Tokens of full length on both sides: one pass of the encoder and the decoder."""
        length = self.workload.sequence_length
        stream = self.prepared.sentence_pairs("validation")
        words = np.concatenate([stream.sources[stream.sources > END], np.arange(END + 1, length)])
        tokens = torch.from_numpy(np.resize(words, (batch_size, length)).astype(np.int64))
        return {"input_ids": tokens, "decoder_input_ids": tokens}


def _cross_entropy(
    model: nn.Module, batch: Batch, *, reduction: str, smoothing: float = 0.0
) -> torch.Tensor:
    outputs = logits(model, batch).float()
    return functional.cross_entropy(
        outputs.flatten(0, 1),
        batch["targets"].flatten(),
        ignore_index=PAD,
        reduction=reduction,
        label_smoothing=smoothing,
    )
