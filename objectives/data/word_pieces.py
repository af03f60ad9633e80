"""Words as word pieces: the first piece of each word stands for it (Devlin et al. 2019, arXiv
1810.04805, section 5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from objectives.data.encoding import IGNORED, Tokens
from objectives.data.sources.tagged import TaggedRows

Places = npt.NDArray[np.int64]
"""For each word of a sentence, where in its tokens the first piece is, or -1, ``(words,)``."""


def first_pieces(words: Sequence[str], encoding: Any) -> Places:
    """Where the first piece of each word is in the tokens of a sentence.

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


def word_labels(
    tokenizer: Any, rows: TaggedRows, number: Mapping[str, int], *, sequence_length: int
) -> Tokens:
    """The number of the tag of each word at its first piece, and ``IGNORED`` at all other tokens,
    ``(sentences, sequence)``.

    Args:
        tokenizer: A ``tokenizers.Tokenizer`` that neither cuts nor pads.
        number: That of each tag.
        sequence_length: Most tokens of a sentence, the special ones included.
    """
    labels = np.full((len(rows.texts), sequence_length), IGNORED, dtype=np.int32)
    tokenizer.enable_truncation(sequence_length)
    encodings = tokenizer.encode_batch(rows.texts)
    tokenizer.no_truncation()
    for row, encoding in enumerate(encodings):
        places = first_pieces(rows.words[row], encoding)
        tags = np.asarray([number[tag] for tag in rows.tags[row]])
        labels[row, places[places >= 0]] = tags[places >= 0]
    return labels
