"""Texts as the arrays that models read, in training and in prediction.

Tokens are of a byte-level BPE vocabulary trained on the corpus, with RoBERTa's special tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

START, PAD, END, UNKNOWN, MASK = range(5)
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""In RoBERTa's order, so that their numbers are the defaults of its configuration."""

PART_CHARACTERS = 16_384
PARTS_AT_A_TIME = 512
"""Of a document that is encoded: its tokens take some hundred bytes each meanwhile."""

_LINE_STARTS = re.compile(r"(?<=\n)(?=\S)")

Tokens = npt.NDArray[np.int32]
Pixels = npt.NDArray[np.uint8]
Normalisation = npt.NDArray[np.float32]
"""What pixels are divided by, and what is then subtracted, for each channel ``(2, channels)``."""


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> Any:
    """Train a ``tokenizers.Tokenizer`` of at most this many tokens; a small corpus gives fewer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS[UNKNOWN]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(file: Path) -> Any:
    """The ``tokenizers.Tokenizer`` that was saved to a file."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(file))


class EncodedTexts(NamedTuple):
    """Texts as a model reads them."""

    tokens: Tokens
    """Token ids ``(examples, sequence)``, padded at the end."""
    lengths: Tokens
    """Tokens of each without padding ``(examples,)``."""
    whole_lengths: Tokens
    """Tokens that each would have if it were not cut ``(examples,)``."""


def encode_texts(
    tokenizer: Any, texts: Sequence[str], seconds: Sequence[str] = (), *, sequence_length: int
) -> EncodedTexts:
    """Texts, or pairs of them, between start and end tokens, cut and padded at the end.

    Args:
        tokenizer: A ``tokenizers.Tokenizer``.
        seconds: The second text of each pair; empty where there are no pairs.
        sequence_length: Most tokens of an example, the special ones included.
    """
    examples = token_ids(tokenizer, texts)
    whole = np.asarray([len(ids) + 2 for ids in examples], dtype=np.int32)
    if seconds:
        others = token_ids(tokenizer, seconds)
        whole += np.asarray([len(ids) + 2 for ids in others], dtype=np.int32)
        pairs = zip(examples, others, strict=True)
        examples = [_joined(first, second, sequence_length - 2) for first, second in pairs]
    tokens = np.full((len(examples), sequence_length), PAD, dtype=np.int32)
    lengths = np.empty(len(examples), dtype=np.int32)
    for row, example in enumerate(examples):
        ids = [START, *example[: sequence_length - 2], END]
        tokens[row, : len(ids)] = ids
        lengths[row] = len(ids)
    return EncodedTexts(tokens, lengths, whole)


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts, without special tokens around them."""
    return [e.ids for e in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def token_stream(tokenizer: Any, documents: Iterable[str]) -> Tokens:
    """Token ids of whole documents ``(tokens,)``, newlines included, with an end token after each.

    Long documents are encoded in parts, in parallel and with bounded memory.
    """
    encoded: list[Tokens] = []
    parts = [
        (part, number == count)
        for divided in map(document_parts, documents)
        for count in (len(divided),)
        for number, part in enumerate(divided, start=1)
    ]
    for first in range(0, len(parts), PARTS_AT_A_TIME):
        some = parts[first : first + PARTS_AT_A_TIME]
        every = token_ids(tokenizer, [part for part, _ in some])
        for ids, (_, is_last) in zip(every, some, strict=True):
            encoded.append(np.asarray([*ids, END] if is_last else ids, dtype=np.int32))
    return np.concatenate(encoded)


def document_parts(document: str) -> list[str]:
    """A document in the parts that are encoded apart, each of which begins with a line that begins
    with no space.

    Where blank lines end a part, its last tokens are others than in the whole document.
    """
    cuts = [0]
    for match in _LINE_STARTS.finditer(document):
        if match.start() - cuts[-1] >= PART_CHARACTERS:
            cuts.append(match.start())
    return [document[a:b] for a, b in zip(cuts, [*cuts[1:], len(document)], strict=True)]


def _joined(first: list[int], second: list[int], length: int) -> list[int]:
    """Two texts as one example of a length, with RoBERTa's two end tokens between them.

    What does not fit is cut from the longer one, and where both are longer than half, from both:
    the truncation ``longest_first`` of ``tokenizers``.
    """
    available = length - 2
    if len(first) + len(second) > available:
        kept = min(len(first), len(second), available // 2)
        if len(first) > len(second):
            first, second = first[: available - kept], second[:kept]
        else:
            first, second = first[:kept], second[: available - kept]
    return [*first, END, END, *second]
