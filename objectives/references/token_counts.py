"""TF-IDF of the n-grams of tokens, which references of labelled texts read."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from objectives.data.encoding import END, SPECIAL_TOKENS
from objectives.references.ngrams import bytes_per_token


def token_counts(most: int, texts: int) -> Any:
    """scikit-learn's vectoriser of token ids ``(texts, sequence)``, of at most so many n-grams."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        analyzer=token_ngrams, sublinear_tf=True, min_df=min(2, texts), max_features=most
    )


def ngram_bytes(vocabulary: int) -> int:
    """Bytes of the key of an n-gram: two tokens, each of the first or the second text of a pair."""
    return 2 * bytes_per_token(2 * vocabulary)


def token_ngrams(row: npt.NDArray[Any]) -> list[tuple[int, ...]]:
    """Unigrams and bigrams of a padded text without special tokens.

    Tokens of the second text of a pair are negative, so that they count apart.
    """
    ends = np.flatnonzero(row == END)
    signed = np.where(np.arange(len(row)) < ends[0], row, -row) if len(ends) > 1 else row
    ids = signed[np.abs(row) >= len(SPECIAL_TOKENS)].tolist()
    pairs = [pair for pair in pairwise(ids) if pair[0] * pair[1] > 0]
    return [*((token,) for token in ids), *pairs]
