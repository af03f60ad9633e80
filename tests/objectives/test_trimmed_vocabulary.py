"""The tokenizer of a checkpoint with fewer pieces: it reads the same text with smaller ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from objectives.data.encoding import END, MASK, PAD, START, UNKNOWN
from objectives.data.errors import DataError
from objectives.data.pretrained_tokenizer import PretrainedTokenizer
from tests.checkpoints import SPECIAL, texts_of, tokenizer_for

KINDS = {"WordPiece": 300, "BPE": 420, "Unigram": 200}
NAMES = tuple(SPECIAL[index] for index in (2, 1, 3, 0, 4))
"""Start, padding, end, unknown and mask token."""


@pytest.fixture(scope="module")
def texts(corpus: Path) -> list[str]:
    return texts_of(corpus)


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, texts: list[str]) -> PretrainedTokenizer:
    made = tokenizer_for(request.param, texts, KINDS[request.param])
    made.backend_tokenizer.enable_truncation(4)
    made.backend_tokenizer.enable_padding(length=9)
    return PretrainedTokenizer(made.backend_tokenizer.to_str(), NAMES)


def encode(tokenizer: Any, text: str) -> Any:
    return tokenizer.encode(text, add_special_tokens=False)


def size_of(whole: PretrainedTokenizer, fraction: float) -> int:
    """A size between what must stay and the whole vocabulary."""
    least = 265 if whole.kind == "BPE" else 75
    return round(least + fraction * (whole.pieces - least))


def test_the_whole_vocabulary_reads_a_text_as_before(
    whole: PretrainedTokenizer, texts: list[str]
) -> None:
    renumbered, original = whole.trimmed(texts, whole.pieces)
    assert [renumbered.token_to_id(name) for name in NAMES] == [START, PAD, END, UNKNOWN, MASK]
    assert sorted(original) == sorted(whole.vocabulary.values())
    for token, number in renumbered.get_vocab().items():
        assert whole.vocabulary[token] == original[number]
    from tokenizers import Tokenizer

    before = Tokenizer.from_str(whole.definition)
    before.no_truncation()
    before.no_padding()
    for text in texts[:50]:
        assert encode(renumbered, text).tokens == encode(before, text).tokens


def test_fewer_pieces_are_exactly_as_many_and_name_their_old_rows(
    whole: PretrainedTokenizer, texts: list[str]
) -> None:
    size = size_of(whole, 0.5)
    trimmed, original = whole.trimmed(texts, size)
    assert trimmed.get_vocab_size() == len(original) == size
    for token, number in trimmed.get_vocab().items():
        assert whole.vocabulary[token] == original[number]


def test_words_that_lost_their_piece_fall_back_to_smaller_ones(
    whole: PretrainedTokenizer, texts: list[str]
) -> None:
    trimmed, _ = whole.trimmed(texts, size_of(whole, 0.0))
    lengths = []
    for text in texts:
        encoded = encode(trimmed, text)
        assert UNKNOWN not in encoded.ids
        lengths.append(len(encoded.ids))
    renumbered, _ = whole.trimmed(texts, whole.pieces)
    assert sum(lengths) > sum(len(encode(renumbered, text).ids) for text in texts)


def test_the_pieces_that_a_text_uses_most_stay(
    whole: PretrainedTokenizer, texts: list[str]
) -> None:
    renumbered, _ = whole.trimmed(texts, whole.pieces)
    counts = np.bincount([i for text in texts for i in encode(renumbered, text).ids])
    most_used = renumbered.id_to_token(int(counts.argmax()))
    assert most_used in whole.trimmed(texts, size_of(whole, 0.1))[0].get_vocab()


def test_a_vocabulary_without_its_characters_is_refused(
    whole: PretrainedTokenizer, texts: list[str]
) -> None:
    with pytest.raises(DataError, match=r"space.vocabulary: 20 is less than the \d+ special tok"):
        whole.trimmed(texts, 20)


def test_a_token_that_a_checkpoint_lacks_gets_a_row_of_its_own(texts: list[str]) -> None:
    made = tokenizer_for("BPE", texts, 420)
    document = json.loads(made.backend_tokenizer.to_str())
    # As GPT-2: one token begins and ends texts, and there is no other.
    lean = PretrainedTokenizer(json.dumps(document), ("[SEP]", None, "[SEP]", None, None))
    renumbered, original = lean.trimmed(texts, lean.pieces)
    number = lean.vocabulary["[SEP]"]
    assert list(original[[START, PAD, END, UNKNOWN, MASK]]) == [number, -1, number, -1, -1]
    assert renumbered.id_to_token(START) == "[SEP]"
    assert len(original) == renumbered.get_vocab_size() == lean.pieces


def test_other_pieces_are_another_tokenizer(texts: list[str]) -> None:
    first, second = (
        PretrainedTokenizer(
            tokenizer_for("WordPiece", texts, size).backend_tokenizer.to_str(), NAMES
        )
        for size in (200, 210)
    )
    assert first.digest != second.digest
