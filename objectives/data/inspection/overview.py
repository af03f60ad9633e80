"""Prepared data at a glance: its splits, its classes, and some examples as models read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from objectives.data.encoding import Tokens, load_tokenizer
from objectives.data.prepared_data import PreparedData
from spaces.file.inputs.tables import SPLITS

SHOWN = 3
"""Examples of the training split."""
SEPARATOR = "|"
"""Between the tokens of an example."""


@dataclass(frozen=True)
class ShownExample:
    """A training example as models read it.

    Args:
        tokens: Its tokens with bars between them, or the size of an image.
        label: Its class, its number, or the tokens to write; empty without.
        is_full: Whether it has as many tokens as models read, so that a longer text was cut.
    """

    tokens: str
    label: str = ""
    is_full: bool = False


@dataclass(frozen=True)
class Overview:
    """What data holds.

    Args:
        counts: Tokens, examples, pairs or images of each split.
        classes: Examples of each class in each split, the most frequent class first; empty
            without classes.
        examples: Some of the training split.
        notices: What was skipped, merged, guessed or cut.
    """

    counts: dict[str, int]
    classes: dict[str, dict[str, int]]
    examples: tuple[ShownExample, ...]
    notices: tuple[str, ...]


def overview(data: PreparedData) -> Overview:
    """Look at prepared data."""
    return Overview(data.counts, _classes(data), tuple(_examples(data)), tuple(data.cautions()))


def _classes(data: PreparedData) -> dict[str, dict[str, int]]:
    names = data.label_names
    if not names:
        return {}
    counts: dict[str, Sequence[int]] = {}
    for split in SPLITS:
        labels = (
            data.labelled_images(split).labels
            if _has(data, "images")
            else data.labelled_texts(split).labels
        )
        # Only the first token of a word has a tag.
        counts[split] = np.bincount(labels[labels >= 0], minlength=len(names)).tolist()
    found = {
        name: {split: counts[split][index] for split in SPLITS} for index, name in enumerate(names)
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]["train"]))


def _examples(data: PreparedData) -> list[ShownExample]:
    if _has(data, "images"):
        images = data.labelled_images("train")
        channels, height, width = images.pixels.shape[1:]
        size = f"{height} × {width} pixels, {channels} channel{'s' * (channels > 1)}"
        labels = images.labels[:SHOWN].tolist()
        return [ShownExample(size, data.label_names[label]) for label in labels]
    if not data.tokenizer_file.is_file():
        return []
    pieces = _Pieces(data)
    if _has(data, "pairs"):
        pairs = data.sentence_pairs("train")
        return [
            ShownExample(
                pieces.text(pairs.sources[row][: pairs.source_lengths[row]]),
                pieces.text(pairs.targets[row][: pairs.target_lengths[row]]),
                bool(pairs.source_lengths[row] == pairs.sources.shape[1]),
            )
            for row in range(min(SHOWN, len(pairs.sources)))
        ]
    if data.labelled_examples is None:
        stream = data.token_stream("train")
        return [ShownExample(pieces.text(stream[: 64 * SHOWN]))]
    texts = data.labelled_texts("train")
    return [
        ShownExample(
            pieces.text(texts.tokens[row][: texts.lengths[row]]),
            _label(data, texts.labels[row]),
            bool(texts.lengths[row] == texts.tokens.shape[1]),
        )
        for row in range(min(SHOWN, len(texts.tokens)))
    ]


def _has(data: PreparedData, kind: str) -> bool:
    return f"train {kind}" in data.counts


def _label(data: PreparedData, label: object) -> str:
    values = np.atleast_1d(np.asarray(label))
    if not data.label_names:
        mean, deviation = data.label_scale
        return f"{float(values[0]) * deviation + mean:.4g}"
    return " ".join(data.label_names[int(value)] for value in values if value >= 0)


class _Pieces:
    """The tokens of a tokenizer as text."""

    def __init__(self, data: PreparedData) -> None:
        self._tokenizer = load_tokenizer(data.tokenizer_file)

    def text(self, tokens: Tokens) -> str:
        """Some tokens with bars between them."""
        pieces = (
            self._tokenizer.decode([int(token)], skip_special_tokens=False) for token in tokens
        )
        return SEPARATOR.join(piece.replace("\n", "↵") for piece in pieces)
