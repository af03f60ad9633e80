"""The reference of taggers: the most frequent tag of each word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from objectives.data.batches import Batch
from objectives.data.encoding import IGNORED
from objectives.data.prepared_data import LabelledTexts
from objectives.references.classifiers import ScoreOf
from objectives.references.ngrams import bytes_per_token
from objectives.references.reference import Reference

Word = tuple[int, ...]
"""Its tokens."""


def frequent_tags(texts: LabelledTexts, vocabulary: int, tags: int, score: ScoreOf) -> Reference:
    """The most frequent tag of each word of the training split; of all others, the most frequent
    tag of all words.

    Args:
        texts: Those of the training split.
        vocabulary: Size of the vocabulary.
        tags: Number of tags.
        score: From the logits ``(batch, sequence, tags)`` of a batch to the score of a split.
    """
    usual, others = _most_frequent(texts, tags)
    tag_bytes = 1 if tags <= 256 else 2
    keys = sum(len(word) * bytes_per_token(vocabulary) + 1 for word in others)
    return Reference(
        "most frequent tag",
        "the most frequent tag of each word in train, and for all other words that of all; the "
        f"tokens of the {len(others):,} words that have another than this one, a byte for their "
        f"number, and {tag_bytes} for the tag",
        keys + tag_bytes * (len(others) + 1),
        partial(score, partial(_logits, usual, others, tags)),
    )


def _most_frequent(texts: LabelledTexts, tags: int) -> tuple[int, dict[Word, int]]:
    """The most frequent tag, and that of each word where it is another; the more frequent tag of
    equally frequent ones."""
    counts: dict[Word, npt.NDArray[np.int64]] = {}
    rows = zip(texts.tokens, texts.labels, texts.lengths, strict=True)
    for tokens, labels, length in rows:
        for place, word in _words(tokens, labels, int(length)):
            counts.setdefault(word, np.zeros(tags, dtype=np.int64))[labels[place]] += 1
    every = sum(counts.values(), np.zeros(tags, dtype=np.int64))
    # The whole split decides where the counts of a word are equal.
    share = every / (1.0 + every.sum())
    best = {word: int(np.argmax(own + share)) for word, own in counts.items()}
    usual = int(np.argmax(every))
    return usual, {word: tag for word, tag in best.items() if tag != usual}


def _words(
    tokens: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], length: int
) -> Iterator[tuple[int, Word]]:
    """Where each word of a sentence begins, and its tokens."""
    starts = np.flatnonzero(labels != IGNORED)
    # Behind the last word stands a special token.
    ends = [*starts[1:].tolist(), length - 1]
    for start, end in zip(starts.tolist(), ends, strict=True):
        yield start, tuple(tokens[start:end].tolist())


def _logits(usual: int, others: Mapping[Word, int], tags: int, batch: Batch) -> torch.Tensor:
    """Certainty of one tag for each word: a table of tags has no probabilities."""
    tokens, labels = batch["input_ids"].numpy(), batch["labels"].numpy()
    lengths = batch["attention_mask"].sum(1).tolist()
    chosen = torch.full(tokens.shape, usual)
    for row, length in enumerate(lengths):
        for place, word in _words(tokens[row], labels[row], length):
            chosen[row, place] = others.get(word, usual)
    is_chosen = torch.nn.functional.one_hot(chosen, tags).bool()
    return torch.zeros(is_chosen.shape).masked_fill(~is_chosen, -torch.inf)
