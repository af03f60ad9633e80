"""Texts that an encoder and a decoder write (Vaswani et al. 2017): translations, summaries."""

from __future__ import annotations

import math
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from objectives.data.batches import (
    EVALUATION_BATCH_SIZE,
    Batch,
    BucketedBatches,
    logits,
    sentence_pair_batch,
    to_device,
)
from objectives.data.encoding import END, IGNORED, MASK, PAD, Tokens, load_tokenizer
from objectives.data.errors import DataError
from objectives.data.row_order import rows_by_length
from objectives.measurement.flops import BatchParts
from objectives.measurement.score import Score
from objectives.measurement.scores.bleu_tokenizers import EXTRAS, bleu_tokenizer, lacking_packages
from objectives.measurement.scores.texts import overlap_score
from objectives.models.decoding import Decoding, of_decoder, write_texts
from objectives.models.vocabulary_loss import vocabulary_loss
from objectives.store import heartbeat
from objectives.tasks.base import CALIBRATION_BATCHES
from objectives.tasks.from_sources import FromSources
from objectives.training.path import Epoch
from spaces.file import tasks
from spaces.file.space import Measurement
from spaces.grid.decoding import decoding_lengths

LABEL_SMOOTHING = 0.1
"""Of the training loss alone (Vaswani et al. 2017, section 5.4)."""


class Answers(NamedTuple):
    """What a model writes of each text of a split.

    Args:
        loss: Mean cross-entropy of what it should have written, in nats.
    """

    texts: list[str]
    split: str
    loss: float


class TextGeneration(FromSources, tasks.TextGeneration):
    """A task whose models read a text and write another one."""

    def check(self) -> None:
        """Refuse a tokenizer of BLEU that is not installed.

        Raises:
            DataError: Naming what to install.
        """
        tokenizer = self.bleu_tokenizer or ""
        if lacking := lacking_packages(tokenizer):
            raise DataError(
                f"task.bleu_tokenizer: {tokenizer} needs {' and '.join(lacking)}: "
                f"pip install '{EXTRAS[tokenizer]}'"
            )

    @cached_property
    def train_batches(self) -> BucketedBatches:
        """Batches of the training split."""
        pairs = self.prepared.sentence_pairs("train")
        return BucketedBatches(sentence_pair_batch, pairs, self.batch_size, self.seed)

    @cached_property
    def epoch(self) -> Epoch:
        """The pairs of the training split, with the tokens of both sides."""
        lengths = self.prepared.sentence_pairs("train").lengths
        return Epoch(len(lengths), int(lengths.sum()))

    def terms(self, batch: Batch) -> int:
        """Tokens of the texts to write."""
        return int((batch["targets"] != PAD).sum())

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the next tokens of the text to write, with label smoothing."""
        return _cross_entropy(
            model, to_device(batch, model), reduction="mean", smoothing=LABEL_SMOOTHING
        )

    def targets(self, batch: Batch) -> torch.Tensor:
        """The next tokens of the text to write, ``(predictions,)``; ``IGNORED`` after its end."""
        targets = batch["targets"].flatten()
        return torch.where(targets == PAD, IGNORED, targets)

    def score(self, model: nn.Module, split: str) -> Score:
        """Score of the decoded texts of a split, with its 95 % interval."""
        return self._score_of(*self.answers(model, split))

    def answers(self, model: nn.Module, split: str) -> Answers:
        """What a model writes of each text of a split."""
        pairs = self.prepared.sentence_pairs(split)
        tokenizer = load_tokenizer(self.prepared.tokenizer_file)
        texts = [""] * len(pairs.source_lengths)
        loss, tokens = 0.0, 0
        parts = BatchParts(model.eval())
        with torch.inference_mode():
            for rows in rows_by_length(pairs.source_lengths, EVALUATION_BATCH_SIZE):
                heartbeat.beat("scoring")
                decoded: list[str] = []
                for part in parts.of(to_device(sentence_pair_batch(pairs, rows), model)):
                    summed = _cross_entropy(model, part, reduction="sum")
                    loss += summed.item()
                    tokens += self.terms(part)
                    decoded += write_texts(
                        model,
                        part,
                        tokenizer,
                        start=self.prepared.target_start,
                        beams=self.beams,
                        length=self.workload.target_length,
                    )
                for row, text in zip(rows, decoded, strict=True):
                    texts[row] = text
        return Answers(texts, split, loss / tokens)

    def read_texts(self, split: str, tokens: int | None = None) -> list[str]:
        """The texts of a split as models read them.

        Args:
            tokens: So many at the beginning of each; by default all that models read.
        """
        tokenizer = load_tokenizer(self.prepared.tokenizer_file)
        sources = self.prepared.sentence_pairs(split).sources
        # Special tokens stand before each text, and are no part of it.
        kept = [[token for token in row if token > MASK][:tokens] for row in sources.tolist()]
        texts: list[str] = tokenizer.decode_batch(kept)
        return texts

    def _score_of(self, texts: list[str], split: str, loss: float) -> Score:
        references = self.prepared.references(split)
        groups = self.prepared.groups(split)
        return overlap_score(
            texts, references, self.metric_name, loss, groups=groups, **self._of_bleu
        )

    @property
    def _of_bleu(self) -> dict[str, str]:
        """What BLEU alone depends on."""
        return {"tokenizer": self.tokenizer_of_bleu} if self.metric_name == "bleu" else {}

    @cached_property
    def tokenizer_of_bleu(self) -> str:
        """What divides texts into the words of BLEU: as the search file says, or by the script of
        the training targets."""
        return self.bleu_tokenizer or bleu_tokenizer(self.prepared.references("train"))

    def score_of_sources(self, split: str, tokens: int | None = None) -> Score:
        """Score of the texts to read, in place of what a model writes; ``tokens`` as of
        ``read_texts``."""
        return self._score_of(self.read_texts(split, tokens), split, math.nan)

    @property
    def scored_by(self) -> dict[str, Any]:
        """The beams, and what divides texts into the words of BLEU."""
        return {"beams": self.beams, **self._of_bleu}

    def calibration(self) -> list[Batch]:
        """Training batches, padded to full length."""
        return [self.train_batches.full_length(step) for step in range(CALIBRATION_BATCHES)]

    def latency_input(self, batch_size: int) -> Batch:
        """Tokens of full length on both sides: one pass of the encoder and the decoder."""
        pairs, workload = self.prepared.sentence_pairs("validation"), self.workload
        return {
            "input_ids": _words(pairs.sources, (batch_size, workload.sequence_length)),
            "decoder_input_ids": _words(pairs.targets, (batch_size, workload.target_length)),
        }

    def decoding(self, measurement: Measurement) -> Decoding:
        """What a decoder writes of some words, with the beams of the task."""
        lengths = decoding_lengths(self.workload, measurement, has_decoder=True)
        text = self.latency_input(measurement.batch_size)["input_ids"]
        tokens = text[:, : lengths.prompt_tokens]
        inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        options = of_decoder(self.prepared.target_start, self.beams)
        return Decoding(inputs, lengths.new_tokens, options)


def _words(tokens: Tokens, shape: tuple[int, int]) -> torch.Tensor:
    """The words of some texts, one after another, ``(batch, sequence)``."""
    # There may be fewer than a sequence has.
    words = np.concatenate([tokens[tokens > END], np.arange(END + 1, shape[1])])
    return torch.from_numpy(np.resize(words, shape).astype(np.int64))


def _cross_entropy(
    model: nn.Module, batch: Batch, *, reduction: str, smoothing: float = 0.0
) -> torch.Tensor:
    return vocabulary_loss(
        model,
        partial(logits, model, batch),
        batch["targets"].flatten(),
        reduction=reduction,
        ignored=PAD,
        smoothing=smoothing,
    )
