"""Words and their tags: the first token of each word, and the scores of tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .classes import class_score
from .errors import InputError

Tags = Sequence[str | None]
"""Of the words of a sentence; None of one that the model does not read."""

Span = tuple[str, int, int]
"""Its kind, its first word, and the one behind its last."""

Places = npt.NDArray[np.int64]
"""For each word of a sentence, where in its tokens the first one is, or -1, ``(words,)``."""

Floats = npt.NDArray[np.float64]


def words_of(given: Any) -> list[str]:
    """The words of a sentence: of a text, what spaces separate; ``InputError`` of anything else."""
    if isinstance(given, str):
        return given.split()
    if not isinstance(given, list | tuple) or not all(isinstance(word, str) for word in given):
        raise InputError(f"input: {given!r} is neither a text nor a list of words")
    if not all(word.strip() for word in given):
        raise InputError(f"input: {given!r} has a word that is blank")
    return list(given)


def first_tokens(words: Sequence[str], encoding: Any) -> Places:
    """Where the first token of each word is in the tokens of a sentence.

    A word has none where the sentence is cut before it, where the tokenizer has no token for it, or
    where its first characters share a token with the word before.

    Args:
        encoding: That of the words with spaces between them, as ``tokenizers`` gives it. The
            offsets of a token may hold the space before it.
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


def tag_score(
    predicted: Sequence[Tags], wanted: Sequence[Sequence[str]], metric: str, names: Sequence[str]
) -> float:
    """The score of the tags of sentences, of the words that the model reads: ``f1``, ``accuracy``,
    ``balanced-accuracy`` or ``macro-f1``.

    Args:
        names: Of all tags.
    """
    pairs = [
        [(one, other) for one, other in zip(*sides, strict=True) if one is not None]
        for sides in zip(predicted, wanted, strict=True)
    ]
    if metric == "f1":
        sides = [[[pair[side] for pair in each] for side in (0, 1)] for each in pairs]
        return float(span_f1(np.sum([span_counts(*each) for each in sides], axis=0)))
    found, known = zip(*(pair for each in pairs for pair in each), strict=True)
    return class_score(found, known, metric, names)


def spans(tags: Sequence[str]) -> set[Span]:
    """The spans of the tags of a sentence, as conlleval (Tjong Kim Sang and Buchholz 2000) and
    seqeval read them.

    A span begins at ``B-`` and ``S-``; and at ``I-`` and ``E-`` after another kind, after ``O``,
    and after the end of a span, so that IOB1, IOB2 and IOBES are read alike.

    >>> sorted(spans(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"]))
    [('LOC', 3, 4), ('LOC', 4, 5), ('PER', 0, 2)]
    """
    found: set[Span] = set()
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


def span_counts(predicted: Sequence[str], wanted: Sequence[str]) -> tuple[int, int, int]:
    """Spans of a sentence that are both predicted and wanted, with equal kinds and ends; that are
    predicted; and that are wanted."""
    one, other = spans(predicted), spans(wanted)
    return len(one & other), len(one), len(other)


def span_f1(counts: Floats) -> Floats:
    """The harmonic mean of precision and recall of such counts, ``(..., 3)``; 0 without spans."""
    right, predicted, wanted = np.moveaxis(counts, -1, 0)
    found: Floats = 2.0 * right / np.maximum(predicted + wanted, 1.0)
    return found
