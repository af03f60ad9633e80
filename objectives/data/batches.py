"""Batches of each kind of data, as functions of seed and step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from objectives.data.encoding import (
    END,
    MASK,
    PAD,
    SPECIAL_TOKENS,
    START,
    Labels,
    Normalisation,
    Pixels,
    Tokens,
)
from objectives.data.prepared_data import LabelledImages, LabelledTexts, SentencePairs
from objectives.data.row_order import BucketedRows, Rows, generator, shuffled_rows
from objectives.device import device_of
from spaces.cost.workload import masked_tokens

Batch = dict[str, torch.Tensor]

FORWARD_ARGUMENTS = (
    "input_ids", "attention_mask", "token_type_ids", "decoder_input_ids", "pixel_values",
    "input_features", "input_values",
)  # fmt: skip
"""What models of transformers take; all else in a batch is for the loss."""

EVALUATION_BATCH_SIZE = 64
"""Examples in a batch of a score and of a prediction: floating-point sums depend on the batch, and
both must be the same."""


def forward_arguments(batch: Batch) -> Batch:
    """The part of a batch that a model's forward pass takes."""
    return {name: batch[name] for name in FORWARD_ARGUMENTS if name in batch}


def doubled(inputs: Batch) -> Batch:
    """Every sequence twice: of two or more, a graph for any number can be made."""
    return {name: torch.cat((tensor, tensor)) for name, tensor in inputs.items()}


def logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Logits of a model on a batch: ``(batch, classes)``, or ``(batch, sequence, vocabulary)``."""
    output: torch.Tensor = model(**forward_arguments(batch)).logits
    return output


def to_device(batch: Batch, model: nn.Module) -> Batch:
    """A batch on the device of a model."""
    device = device_of(model)
    return {name: tensor.to(device) for name, tensor in batch.items()}


def on_device(batches: Iterable[Batch], model: nn.Module) -> Iterator[Batch]:
    """Batches on the device of a model, one after another."""
    return (to_device(batch, model) for batch in batches)


@dataclass(frozen=True, slots=True)
class BatchShard:
    """One of ``count`` equal shards of each batch, numbered from 0."""

    index: int = 0
    count: int = 1

    def of(self, batch: Batch) -> Batch:
        """The rows of a batch that are in this shard."""
        if self.count == 1:
            return batch
        shard = {
            name: tensor.tensor_split(self.count)[self.index] for name, tensor in batch.items()
        }
        if "positions" in shard:
            # They point into the flattened tokens of the whole batch.
            shard["positions"] = shard["positions"] - self.index * shard["input_ids"].numel()
        return shard


WHOLE_BATCH = BatchShard()


@dataclass(frozen=True)
class MaskedBatches:
    """Batches for masked language modelling, after Devlin et al. 2019, section 3.1.

    Each sequence has the same number of predicted tokens; of those 80 % are masked, 10 % replaced
    by a random token of the vocabulary and 10 % left. A sequence is a window of the stream of token
    ids between a start and an end token, which count to its length.
    """

    stream: Tokens
    sequence_length: int
    batch_size: int
    vocabulary_size: int
    seed: int

    @property
    def sequences(self) -> int:
        """Windows that the stream holds."""
        return len(self.stream) // (self.sequence_length - 2)

    def starts(self, step: int) -> Rows:
        """Where in the stream the windows of the batch of a step begin, ``(batch,)``."""
        rows = shuffled_rows(self.seed, step, self.batch_size, self.sequences)
        return rows * (self.sequence_length - 2)

    def __call__(self, step: int) -> Batch:
        """The batch of a step.

        Returns:
            ``input_ids`` ``(batch, sequence)``; ``positions`` ``(batch * predicted,)``, indices
            into the flattened batch; and ``targets``, the original tokens there.
        """
        starts, body = self.starts(step), self.sequence_length - 2
        tokens = np.empty((len(starts), self.sequence_length), dtype=np.int64)
        tokens[:, 0], tokens[:, -1] = START, END
        tokens[:, 1:-1] = self.stream[starts[:, None] + np.arange(body)]
        rng = generator(self.seed, 1, step)
        predicted = masked_tokens(self.sequence_length)
        columns = 1 + np.argsort(rng.random((len(starts), body)), axis=1)[:, :predicted]
        positions = (columns + self.sequence_length * np.arange(len(starts))[:, None]).ravel()
        flat = tokens.ravel()
        targets = flat[positions].copy()
        fate = rng.random(len(positions))
        random_tokens = rng.integers(len(SPECIAL_TOKENS), self.vocabulary_size, len(positions))
        flat[positions] = np.where(fate < 0.8, MASK, np.where(fate < 0.9, random_tokens, targets))
        return {
            "input_ids": torch.from_numpy(flat.reshape(tokens.shape)),
            "positions": torch.from_numpy(positions),
            "targets": torch.from_numpy(targets),
        }


@dataclass(frozen=True)
class CausalBatches:
    """Batches for next-token prediction: windows of the stream of token ids, without padding."""

    stream: Tokens
    sequence_length: int
    batch_size: int
    seed: int

    @property
    def sequences(self) -> int:
        """Windows that the stream holds."""
        return (len(self.stream) - 1) // self.sequence_length

    def __call__(self, step: int) -> Batch:
        """The batch of a step, as ``windows`` returns it."""
        return self.windows(shuffled_rows(self.seed, step, self.batch_size, self.sequences))

    def windows(self, rows: Rows) -> Batch:
        """Some windows: ``input_ids``, and ``targets`` that follow each, ``(batch, sequence)``."""
        starts = rows[:, None] * self.sequence_length
        tokens = self.stream[starts + np.arange(self.sequence_length + 1)].astype(np.int64)
        return {
            "input_ids": torch.from_numpy(tokens[:, :-1].copy()),
            "targets": torch.from_numpy(tokens[:, 1:].copy()),
        }


def encoder_inputs(tokens: Tokens) -> Batch:
    """``input_ids`` and ``attention_mask`` of padded token ids."""
    ids = torch.from_numpy(tokens.astype(np.int64))
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


def labelled_text_batch(examples: LabelledTexts, rows: Rows, *, full_length: bool = False) -> Batch:
    """Some labelled texts, padded to the longest of them, or to the longest possible:
    ``input_ids``, ``attention_mask`` and, where there are, ``token_type_ids``
    ``(batch, sequence)``, and ``labels`` ``(batch,)``, or of each token ``(batch, sequence)``."""
    longest = examples.tokens.shape[1] if full_length else int(examples.lengths[rows].max())
    batch = {
        **encoder_inputs(examples.tokens[rows, :longest]),
        "labels": _labels(examples.labels[rows], longest),
    }
    if examples.types is not None:
        types = examples.types[rows, :longest].astype(np.int64)
        batch["token_type_ids"] = torch.from_numpy(types)
    return batch


def _labels(labels: Labels, longest: int) -> torch.Tensor:
    """Classes as int64, numbers as float32; of tokens, those of so many."""
    if labels.ndim == 2:
        labels = labels[:, :longest]
    is_class = np.issubdtype(labels.dtype, np.integer)
    return torch.from_numpy(labels.astype(np.int64 if is_class else np.float32))


def sentence_pair_batch(pairs: SentencePairs, rows: Rows, *, full_length: bool = False) -> Batch:
    """Some pairs of texts, padded to the longest of them, or to the longest possible.

    Returns:
        ``input_ids`` and ``attention_mask`` ``(batch, source)``; ``decoder_input_ids`` and
        ``targets``, the tokens that follow each, ``(batch, target)``.
    """
    if full_length:
        source_length, target_length = pairs.sources.shape[1], pairs.targets.shape[1]
    else:
        source_length = int(pairs.source_lengths[rows].max())
        target_length = int(pairs.target_lengths[rows].max())
    targets = torch.from_numpy(pairs.targets[rows, :target_length].astype(np.int64))
    return {
        **encoder_inputs(pairs.sources[rows, :source_length]),
        "decoder_input_ids": targets[:, :-1],
        "targets": targets[:, 1:],
    }


class BucketedBatches:
    """Training batches of examples of similar lengths.

    Args:
        make: ``labelled_text_batch`` or ``sentence_pair_batch``.
        examples: Its first argument.
        rows: Those of the examples that are trained on; by default all.
    """

    def __init__(
        self,
        make: Callable[..., Batch],
        examples: LabelledTexts | SentencePairs,
        batch_size: int,
        seed: int,
        rows: Rows | None = None,
    ) -> None:
        self._make = partial(make, examples)
        self._chosen = np.arange(len(examples.lengths)) if rows is None else rows
        self._rows = BucketedRows(examples.lengths[self._chosen], batch_size, seed)

    def __call__(self, step: int) -> Batch:
        """The batch of a step, padded to its longest example."""
        return self._make(self._chosen[self._rows(step)])

    def full_length(self, step: int) -> Batch:
        """The same batch in the one shape with which an exported graph is calibrated."""
        return self._make(self._chosen[self._rows(step)], full_length=True)


@dataclass(frozen=True)
class LabelledImageBatches:
    """Training batches of labelled images."""

    images: LabelledImages
    batch_size: int
    seed: int

    def __call__(self, step: int) -> Batch:
        """The batch of a step, as ``labelled_image_batch`` returns it."""
        rows = shuffled_rows(self.seed, step, self.batch_size, len(self.images.labels))
        return labelled_image_batch(self.images, rows)


def labelled_image_batch(images: LabelledImages, rows: Rows) -> Batch:
    """Some images, ``(batch, channels, height, width)``, and their ``labels`` ``(batch,)``."""
    return {
        "pixel_values": pixel_values(images.pixels[rows], images.normalisation),
        "labels": torch.from_numpy(images.labels[rows].astype(np.int64)),
    }


def pixel_values(pixels: Pixels, normalisation: Normalisation) -> torch.Tensor:
    """Pixels from 0 to 255 as models read them, in the same shape."""
    divisor, subtracted = normalisation[..., None, None]
    return torch.from_numpy(pixels.astype(np.float32) / divisor - subtracted)
