"""Words as word pieces: the first piece of each word stands for it (Devlin et al. 2019, arXiv
1810.04805, section 5.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from objectives.data.encoding import IGNORED, Tokens
from objectives.data.sources.tagged import TaggedRows
from objectives.predictor.words import first_tokens


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
        places = first_tokens(rows.words[row], encoding)
        tags = np.asarray([number[tag] for tag in rows.tags[row]])
        labels[row, places[places >= 0]] = tags[places >= 0]
    return labels
