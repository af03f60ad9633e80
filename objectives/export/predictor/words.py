"""Words and their tags: the first token of each word, and the scores of tags, as tlc's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import InputError

Tags = Sequence[str | None]
"""Of the words of a sentence; None of one that the model does not read."""


def words_of(given: Any) -> list[str]:
    """The words of a sentence: of a text, what spaces separate; ``InputError`` of anything else."""
    if isinstance(given, str):
        return given.split()
    if not isinstance(given, list | tuple) or not all(isinstance(word, str) for word in given):
        raise InputError(f"input: {given!r} is neither a text nor a list of words")
    if not all(word.strip() for word in given):
        raise InputError(f"input: {given!r} has a word that is blank")
    return list(given)


def first_tokens(words: Sequence[str], encoding: Any) -> Any:
    """Where the first token of each word is, or -1 ``(words,)``.

    Args:
        encoding: That of the words with spaces between them, as ``tokenizers`` gives it.
    """
    tokens = np.flatnonzero(np.asarray(encoding.special_tokens_mask) == 0)
    starts, ends = np.asarray(encoding.offsets).reshape(-1, 2)[tokens].T
    lengths = np.asarray([len(word) for word in words], dtype=np.int64)
    of_words = np.cumsum(lengths + 1) - lengths - 1
    # The first token that ends behind the word before.
    found = np.searchsorted(ends, of_words - 1, side="right")
    has_token = found < len(tokens)
    has_token[has_token] = starts[found[has_token]] < (of_words + lengths)[has_token]
    _, owners = np.unique(found[has_token], return_index=True)
    chosen = np.flatnonzero(has_token)[owners]
    places = np.full(len(words), -1, dtype=np.int64)
    places[chosen] = tokens[found[chosen]]
    return places


def tag_score(predicted: Sequence[Tags], wanted: Sequence[Sequence[str]], metric: str) -> float:
    """The score of the tags of sentences: ``f1``, ``accuracy`` or ``macro-f1``, of the words that
    the model reads."""
    pairs = [
        [(one, other) for one, other in zip(*sides, strict=True) if one is not None]
        for sides in zip(predicted, wanted, strict=True)
    ]
    if metric == "f1":
        spans = [[_spans([pair[side] for pair in each]) for side in (0, 1)] for each in pairs]
        right = sum(len(one & other) for one, other in spans)
        both = sum(len(one) + len(other) for one, other in spans)
        return 2.0 * right / both if both else 0.0
    flat = [pair for each in pairs for pair in each]
    if metric == "macro-f1":
        from sklearn.metrics import f1_score

        found, labels = zip(*flat, strict=True)
        return float(f1_score(labels, found, average="macro"))
    return float(np.mean([one == other for one, other in flat]))


def _spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Kind, first word, and the word behind the last one of each span, as conlleval reads them."""
    found = set()
    start, last, kind = -1, "O", ""
    for place, tag in enumerate((*tags, "O")):
        prefix, _, own = tag.partition("-")
        begins = prefix != "O" and (prefix in "BS" or last in "OES" or own != kind)
        if (begins or prefix == "O") and start >= 0:
            found.add((kind, start, place))
            start = -1
        if begins:
            start = place
        last, kind = prefix, own
    return found
