"""Batches as functions of seed and step: a resumed run reads what it would have read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from objectives.data.encoding import Pixels, Tokens
from objectives.data.prepared_data import LabelledImages, LabelledTexts, SentencePairs
from objectives.data.tokenizer import END, MASK, PAD, SPECIAL_TOKENS, START
from spaces.cost.families.roberta import masked_tokens

Batch = dict[str, torch.Tensor]

FORWARD_ARGUMENTS = ("input_ids", "attention_mask", "decoder_input_ids", "pixel_values")
"""What models of transformers take; all else in a batch is for the loss."""

EVALUATION_BATCH_SIZE = 64
"""Examples that are answered together, in a score and in a prediction: a sum in floating point
depends on it, and both must be the same."""

POOL_BATCHES = 32
"""Most batches that are sorted by length together, so that little of each is padding."""


def forward_arguments(batch: Batch) -> Batch:
    """The part of a batch that a model's forward pass takes."""
    return {name: batch[name] for name in FORWARD_ARGUMENTS if name in batch}


def logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Logits of a model on a batch: ``(batch, classes)``, or ``(batch, sequence, vocabulary)``."""
    answers: torch.Tensor = model(**forward_arguments(batch)).logits
    return answers


def to_device(batch: Batch, model: nn.Module) -> Batch:
    """A batch on the device of a model."""
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _rng(seed: int, stream: int, counter: int) -> np.random.Generator:
    """A generator for one purpose: counter-based (Salmon et al. 2011), so nothing is replayed."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, counter]))


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    return _rng(seed, 0, epoch).permutation(count)


def _rows(seed: int, step: int, batch_size: int, count: int) -> npt.NDArray[np.int64]:
    """Rows of a batch: each epoch visits every row once, in an order of its own."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    return np.asarray(
        [_permutation(seed, int(p) // count, count)[int(p) % count] for p in positions]
    )


class _Buckets:
    """Rows of batches whose examples are of about one length.

    Args:
        lengths: Length of each example, ``(examples,)``.
        batch_size: Examples in a batch.
        seed: Seed of the order.
    """

    def __init__(self, lengths: Tokens, batch_size: int, seed: int) -> None:
        self._lengths = np.asarray(lengths)
        self._batch_size = batch_size
        self._seed = seed
        # A pool of several epochs would put rows twice into a batch, and others off for long.
        self._batches = max(1, min(POOL_BATCHES, len(self._lengths) // batch_size))
        self._pool = lru_cache(maxsize=2)(self._sorted_pool)

    def __call__(self, step: int) -> npt.NDArray[np.int64]:
        """Rows of the batch of a step; each epoch visits every row once."""
        rows: npt.NDArray[np.int64] = self._pool(step // self._batches)[step % self._batches]
        return rows

    def _sorted_pool(self, pool: int) -> npt.NDArray[np.int64]:
        size = self._batches * self._batch_size
        rows = _rows(self._seed, pool, size, len(self._lengths))
        rows = rows[np.argsort(self._lengths[rows], kind="stable")]
        batches = rows.reshape(self._batches, self._batch_size)
        return batches[_rng(self._seed, 2, pool).permutation(self._batches)]


@dataclass(frozen=True)
class MaskedBatches:
    """Batches for masked language modelling, after Devlin et al. 2019, section 3.1.

    Each sequence has the same number of predicted tokens; of those 80 % are masked, 10 % replaced
    by a random token and 10 % left. Windows of the stream stand between start and end tokens.

    Args:
        stream: Token ids, ``(tokens,)``.
        sequence_length: Tokens of a sequence, the two special ones included.
        batch_size: Sequences in a batch.
        vocabulary_size: For the random replacements.
        seed: Seed of order and masking.
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

    def __call__(self, step: int) -> Batch:
        """The batch of a step.

        Returns:
            ``input_ids`` ``(batch, sequence)``; ``positions`` ``(batch * predicted,)``, indices
            into the flattened batch; and ``targets``, the tokens that stood there.
        """
        body = self.sequence_length - 2
        rows = _rows(self.seed, step, self.batch_size, self.sequences)
        tokens = np.empty((len(rows), self.sequence_length), dtype=np.int64)
        tokens[:, 0], tokens[:, -1] = START, END
        for place, row in enumerate(rows):
            tokens[place, 1:-1] = self.stream[row * body : (row + 1) * body]
        rng = _rng(self.seed, 1, step)
        predicted = masked_tokens(self.sequence_length)
        columns = 1 + np.argsort(rng.random((len(rows), body)), axis=1)[:, :predicted]
        positions = (columns + self.sequence_length * np.arange(len(rows))[:, None]).ravel()
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
    """Batches for next-token prediction: windows of the stream, packed without padding.

    Args:
        stream: Token ids, ``(tokens,)``.
        sequence_length: Tokens that are read, and predicted, in a sequence.
        batch_size: Sequences in a batch.
        seed: Seed of the order.
    """

    stream: Tokens
    sequence_length: int
    batch_size: int
    seed: int

    @property
    def sequences(self) -> int:
        """Windows that the stream holds."""
        return (len(self.stream) - 1) // self.sequence_length

    def __call__(self, step: int) -> Batch:
        """The batch of a step, as ``windows`` gives it."""
        return self.windows(_rows(self.seed, step, self.batch_size, self.sequences))

    def windows(self, rows: npt.NDArray[np.int64]) -> Batch:
        """Some windows.

        Returns:
            ``input_ids`` and ``targets``, the tokens that follow each, ``(batch, sequence)``.
        """
        starts = rows[:, None] * self.sequence_length
        tokens = self.stream[starts + np.arange(self.sequence_length + 1)].astype(np.int64)
        return {
            "input_ids": torch.from_numpy(tokens[:, :-1].copy()),
            "targets": torch.from_numpy(tokens[:, 1:].copy()),
        }


def encoder_inputs(tokens: Tokens) -> Batch:
    """What a model reads of padded token ids: ``input_ids`` and ``attention_mask``."""
    read = torch.from_numpy(tokens.astype(np.int64))
    return {"input_ids": read, "attention_mask": (read != PAD).long()}


def labelled_text_batch(
    examples: LabelledTexts, rows: npt.NDArray[np.int64], *, full_length: bool = False
) -> Batch:
    """Some examples, padded to the longest of them, or to the longest that there can be.

    Returns:
        ``input_ids`` and ``attention_mask`` ``(batch, sequence)``, ``labels`` ``(batch,)``.
    """
    longest = examples.tokens.shape[1] if full_length else int(examples.lengths[rows].max())
    return {
        **encoder_inputs(examples.tokens[rows, :longest]),
        "labels": torch.from_numpy(examples.labels[rows].astype(np.int64)),
    }


class LabelledTextBatches:
    """Batches of labelled texts, bucketed by length.

    Args:
        examples: The training split.
        batch_size: Examples in a batch.
        seed: Seed of the order.
    """

    def __init__(self, examples: LabelledTexts, batch_size: int, seed: int) -> None:
        self._examples = examples
        self._rows = _Buckets(examples.lengths, batch_size, seed)

    def __call__(self, step: int) -> Batch:
        """The batch of a step, as ``labelled_text_batch`` gives it."""
        return labelled_text_batch(self._examples, self._rows(step))

    def full_length(self, step: int) -> Batch:
        """The same batch, of the one shape that a graph for calibration asks for."""
        return labelled_text_batch(self._examples, self._rows(step), full_length=True)


def sentence_pair_batch(
    pairs: SentencePairs, rows: npt.NDArray[np.int64], *, full_length: bool = False
) -> Batch:
    """Some sentence pairs, padded to the longest of them, or to the longest that there can be.

    Returns:
        ``input_ids`` and ``attention_mask`` ``(batch, source)``; ``decoder_input_ids``, what has
        been written so far, and ``targets``, what comes next, ``(batch, target)``.
    """
    longest = pairs.sources.shape[1]
    reads = longest if full_length else int(pairs.source_lengths[rows].max())
    writes = longest if full_length else int(pairs.target_lengths[rows].max())
    targets = torch.from_numpy(pairs.targets[rows, :writes].astype(np.int64))
    return {
        **encoder_inputs(pairs.sources[rows, :reads]),
        "decoder_input_ids": targets[:, :-1],
        "targets": targets[:, 1:],
    }


class SentencePairBatches:
    """Batches of sentence pairs, bucketed by length.

    Args:
        pairs: The training split.
        batch_size: Pairs in a batch.
        seed: Seed of the order.
    """

    def __init__(self, pairs: SentencePairs, batch_size: int, seed: int) -> None:
        self._pairs = pairs
        self._rows = _Buckets(pairs.source_lengths + pairs.target_lengths, batch_size, seed)

    def __call__(self, step: int) -> Batch:
        """The batch of a step, as ``sentence_pair_batch`` gives it."""
        return sentence_pair_batch(self._pairs, self._rows(step))

    def full_length(self, step: int) -> Batch:
        """The same batch, of the one shape that a graph for calibration asks for."""
        return sentence_pair_batch(self._pairs, self._rows(step), full_length=True)


@dataclass(frozen=True)
class LabelledImageBatches:
    """Batches of labelled images.

    Args:
        pictures: The training split.
        batch_size: Images in a batch.
        seed: Seed of the order.
    """

    pictures: LabelledImages
    batch_size: int
    seed: int

    def __call__(self, step: int) -> Batch:
        """The batch of a step, as ``labelled_image_batch`` gives it."""
        return labelled_image_batch(
            self.pictures, _rows(self.seed, step, self.batch_size, len(self.pictures.labels))
        )


def labelled_image_batch(pictures: LabelledImages, rows: npt.NDArray[np.int64]) -> Batch:
    """Some images.

    Returns:
        ``pixel_values`` from -1 to 1, ``(batch, channels, height, width)``; ``labels``
        ``(batch,)``.
    """
    return {
        "pixel_values": pixel_values(pictures.pixels[rows]),
        "labels": torch.from_numpy(pictures.labels[rows].astype(np.int64)),
    }


def pixel_values(pixels: Pixels) -> torch.Tensor:
    """Pixels from 0 to 255 as models read them: -1 to 1, of the same shape."""
    return torch.from_numpy(pixels.astype(np.float32)) / 127.5 - 1.0


def rows_by_length(lengths: Tokens, batch_size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of all examples once, in batches of about one length."""
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
