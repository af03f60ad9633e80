"""Texts and images as the arrays that models read: the same for training and for prediction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from objectives.data.tokenizer import END, PAD, START

Tokens = npt.NDArray[np.int32]
Pixels = npt.NDArray[np.uint8]


def encode_texts(
    tokenizer: Any, texts: Sequence[str], seconds: Sequence[str] = (), *, sequence_length: int
) -> tuple[Tokens, Tokens]:
    """Texts, or pairs of them, between start and end tokens, cut and padded at the end.

    Args:
        tokenizer: A ``tokenizers.Tokenizer``.
        texts: The texts.
        seconds: The second text of each pair; empty where there are no pairs.
        sequence_length: Most tokens of an example, the special ones included.

    Returns:
        Token ids ``(examples, sequence)`` and how many of each are no padding ``(examples,)``.
    """
    ids = token_ids(tokenizer, texts)
    if seconds:
        others = token_ids(tokenizer, seconds)
        ids = [_joined(*both, sequence_length) for both in zip(ids, others, strict=True)]
    return _padded(ids, sequence_length)


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts, without special tokens around them."""
    return [e.ids for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def to_pixels(pictures: Iterable[Any], *, channels: int, size: int) -> Pixels:
    """Pictures of PIL as arrays of one shape.

    Args:
        pictures: ``PIL.Image.Image``, of any size and mode; at least one.
        channels: 1 for grey, 3 for red, green and blue.
        size: Height and width that they are brought to.

    Returns:
        0 to 255, ``(images, channels, height, width)``.
    """
    mode = "L" if channels == 1 else "RGB"
    arrays = [np.asarray(picture.convert(mode).resize((size, size))) for picture in pictures]
    stacked = np.stack(arrays).reshape(len(arrays), size, size, channels)
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))


def _joined(first: list[int], second: list[int], sequence_length: int) -> list[int]:
    """Two texts as one example, with RoBERTa's two end tokens between them.

    What does not fit is cut from the longer one, a token at a time, as BERT does.
    """
    room = sequence_length - 4
    excess = max(0, len(first) + len(second) - room)
    from_first = min(excess, max(0, len(first) - max(len(second), room // 2)))
    from_second = excess - from_first
    return [*first[: len(first) - from_first], END, END, *second[: len(second) - from_second]]


def _padded(examples: list[list[int]], sequence_length: int) -> tuple[Tokens, Tokens]:
    tokens = np.full((len(examples), sequence_length), PAD, dtype=np.int32)
    lengths = np.empty(len(examples), dtype=np.int32)
    for row, example in enumerate(examples):
        ids = [START, *example[: sequence_length - 2], END]
        tokens[row, : len(ids)] = ids
        lengths[row] = len(ids)
    return tokens, lengths
