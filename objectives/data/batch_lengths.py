"""Lengths of training batches whose examples are padded to the longest of them."""

from __future__ import annotations

import numpy as np

from objectives.data.encoding import Tokens
from objectives.data.prepared_data import PreparedData
from objectives.data.row_order import BucketedRows
from spaces.cost.budget import BatchLengths

MOST_BATCHES = 1024
"""Batches that are counted: of larger data, the first ones of an epoch."""


def batch_lengths(data: PreparedData, task: str, batch_size: int) -> BatchLengths | None:
    """Mean lengths of the training batches of a task; None for a task without padding.

    The order of the rows, which a seed determines, hardly changes them: they are counted for one.
    """
    if task in ("classification", "regression", "token-classification"):
        texts = data.labelled_texts("train")
        return _of([texts.lengths], texts.lengths, batch_size)
    if task in ("translation", "summarisation"):
        pairs = data.sentence_pairs("train")
        # The first token of a target is read, the last one is written.
        return _of([pairs.source_lengths, pairs.target_lengths - 1], pairs.lengths, batch_size)
    return None


def _of(sides: list[Tokens], lengths: Tokens, batch_size: int) -> BatchLengths:
    rows = BucketedRows(lengths, batch_size, seed=0)
    batches = [rows(step) for step in range(max(1, min(MOST_BATCHES, len(lengths) // batch_size)))]
    longest = [[int(side[batch].max()) for side in sides] for batch in batches]
    padded, *padded_target = np.mean(longest, axis=0).tolist()
    tokens = float(sum(np.mean(side) for side in sides))
    return BatchLengths(tokens, padded, *padded_target)
