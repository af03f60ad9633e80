"""Batches as functions of seed and step: a resumed run reads what it would have read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from objectives.data import Labelled, Tokens
from objectives.tokenizer import END, MASK, PAD, SPECIAL_TOKENS, START
from spaces.flops import masked_tokens

Batch = dict[str, torch.Tensor]


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


def labelled_batch(
    examples: Labelled, rows: npt.NDArray[np.int64], *, full_length: bool = False
) -> Batch:
    """Some examples, padded to the longest of them, or to the longest that there can be.

    Returns:
        ``input_ids`` and ``attention_mask`` ``(batch, sequence)``, ``labels`` ``(batch,)``.
    """
    longest = examples.tokens.shape[1] if full_length else int(examples.lengths[rows].max())
    tokens = torch.from_numpy(examples.tokens[rows, :longest].astype(np.int64))
    return {
        "input_ids": tokens,
        "attention_mask": (tokens != PAD).long(),
        "labels": torch.from_numpy(examples.labels[rows].astype(np.int64)),
    }


@dataclass(frozen=True)
class LabelledBatches:
    """Batches for fine-tuning.

    Args:
        examples: The training split.
        batch_size: Examples in a batch.
        seed: Seed of the order.
    """

    examples: Labelled
    batch_size: int
    seed: int

    def __call__(self, step: int) -> Batch:
        """The batch of a step, as ``labelled_batch`` gives it."""
        return labelled_batch(self.examples, self._rows(step))

    def full_length(self, step: int) -> Batch:
        """The same batch, of the one shape that a graph for calibration asks for."""
        return labelled_batch(self.examples, self._rows(step), full_length=True)

    def _rows(self, step: int) -> npt.NDArray[np.int64]:
        return _rows(self.seed, step, self.batch_size, len(self.examples.labels))


def in_order(examples: Labelled, batch_size: int) -> Iterator[Batch]:
    """Every example once, sorted by length so that little is padding."""
    order = np.argsort(examples.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield labelled_batch(examples, order[start : start + batch_size])
