"""Texts and images as the arrays that models read, in training and in prediction.

Tokens are of a byte-level BPE vocabulary trained on the corpus, with RoBERTa's special tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

START, PAD, END, UNKNOWN, MASK = range(5)
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""In RoBERTa's order, so that their numbers are the defaults of its configuration."""

Tokens = npt.NDArray[np.int32]
Pixels = npt.NDArray[np.uint8]


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


def encode_texts(
    tokenizer: Any, texts: Sequence[str], seconds: Sequence[str] = (), *, sequence_length: int
) -> tuple[Tokens, Tokens]:
    """Texts, or pairs of them, between start and end tokens, cut and padded at the end.

    Args:
        tokenizer: A ``tokenizers.Tokenizer``.
        seconds: The second text of each pair; empty where there are no pairs.
        sequence_length: Most tokens of an example, the special ones included.

    Returns:
        Token ids ``(examples, sequence)``, and tokens of each without padding ``(examples,)``.
    """
    examples = token_ids(tokenizer, texts)
    if seconds:
        pairs = zip(examples, token_ids(tokenizer, seconds), strict=True)
        examples = [_joined(first, second, sequence_length - 2) for first, second in pairs]
    tokens = np.full((len(examples), sequence_length), PAD, dtype=np.int32)
    lengths = np.empty(len(examples), dtype=np.int32)
    for row, example in enumerate(examples):
        ids = [START, *example[: sequence_length - 2], END]
        tokens[row, : len(ids)] = ids
        lengths[row] = len(ids)
    return tokens, lengths


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts, without special tokens around them."""
    return [e.ids for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def _joined(first: list[int], second: list[int], length: int) -> list[int]:
    """Two texts as one example of a length, with RoBERTa's two end tokens between them.

    What does not fit is cut from the longer one, a token at a time, as BERT does.
    """
    available = length - 2
    excess = max(0, len(first) + len(second) - available)
    from_first = min(excess, max(0, len(first) - max(len(second), available // 2)))
    from_second = excess - from_first
    return [*first[: len(first) - from_first], END, END, *second[: len(second) - from_second]]


def to_pixels(images: Iterable[Any], *, channels: int, size: int) -> Pixels:
    """Images as arrays of one shape.

    Args:
        images: ``PIL.Image.Image``, of any size and mode; at least one.
        channels: 1 for grey, 3 for red, green and blue.
        size: Height and width to which they are resized.

    Returns:
        0 to 255, ``(images, channels, height, width)``.
    """
    mode = "L" if channels == 1 else "RGB"
    arrays = [np.asarray(image.convert(mode).resize((size, size))) for image in images]
    stacked = np.stack(arrays).reshape(len(arrays), size, size, channels)
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))
