"""Special tokens that are written in a text are text, in training and in exported tokenizers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer

from objectives.data.encoding import (
    MASK,
    SPECIAL_TOKENS,
    START,
    Template,
    encode_texts,
    load_tokenizer,
    token_ids,
    token_stream,
    train_tokenizer,
    with_template,
)
from objectives.data.pretrained_tokenizer import PretrainedTokenizer
from objectives.export.prediction_task import PredictionTask
from objectives.export.preprocessing import TOKENIZER, write_tokenizer

TEXTS = ["see <s> here", "<mask>", "a<pad>b</s>c <unk>", "[CLS] the [MASK] of it [SEP]"]
CORPUS = [*TEXTS, "the <s> tag, the [CLS] tag"] * 40
BERT = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")


def word_pieces() -> Any:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.WordPieceTrainer(vocab_size=120, special_tokens=[*BERT], show_progress=False),
    )
    return PretrainedTokenizer(tokenizer.to_str(), BERT)


def unigrams() -> Any:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=80, special_tokens=[*SPECIAL_TOKENS], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PretrainedTokenizer(tokenizer.to_str(), SPECIAL_TOKENS)


MAKERS: dict[str, Callable[[], Any]] = {
    "trained": lambda: train_tokenizer(CORPUS, 400),
    "of a BERT": lambda: word_pieces().trimmed(CORPUS, word_pieces().pieces)[0],
    "of a BERT, trimmed": lambda: word_pieces().trimmed(CORPUS, word_pieces().pieces - 20)[0],
    "of unigrams": lambda: unigrams().trimmed(CORPUS, unigrams().pieces)[0],
}


@pytest.mark.parametrize("name", MAKERS)
def test_special_tokens_in_a_text_are_text(name: str, tmp_path: Path) -> None:
    made = MAKERS[name]()
    made.save(str(tmp_path / TOKENIZER))
    start, end = made.id_to_token(0), made.id_to_token(2)
    again = with_template(made, Template.of_roberta([start], end))
    for tokenizer in (made, load_tokenizer(tmp_path / TOKENIZER), again):
        for text, ids in zip(TEXTS, token_ids(tokenizer, TEXTS), strict=True):
            assert min(ids) > MASK, text
            written = tokenizer.decode(ids).replace("##", "").replace("▁", "").lower()
            assert "".join(written.split()) == "".join(text.lower().split())
        encoded = encode_texts(tokenizer, TEXTS, sequence_length=64)
        assert (encoded.tokens[:, 1:] == START).sum() == 0
        # Between documents is an end token, and no other.
        assert (token_stream(tokenizer, TEXTS) <= MASK).sum() == len(TEXTS)


@pytest.mark.parametrize("name", MAKERS)
def test_exported_tokenizers_read_them_as_in_training(name: str, tmp_path: Path) -> None:
    made = MAKERS[name]()
    made.save(str(tmp_path / "trained.json"))
    task = PredictionTask("classification", "accuracy", sequence_length=12)
    write_tokenizer(tmp_path / "trained.json", task, tmp_path)
    expected = encode_texts(made, TEXTS, sequence_length=12)
    ids = [row[:n].tolist() for row, n in zip(expected.tokens, expected.lengths, strict=True)]
    of_transformers = AutoTokenizer.from_pretrained(tmp_path)
    assert of_transformers(TEXTS, truncation=True).input_ids == ids
    exported = Tokenizer.from_file(str(tmp_path / TOKENIZER))
    exported.encode_special_tokens = True
    padded = exported.encode_batch(TEXTS)
    # They are cut, padded to the longest, and have their special tokens.
    longest = max(map(len, ids))
    assert [each.ids for each in padded] == expected.tokens[:, :longest].tolist()
    assert [sum(each.attention_mask) for each in padded] == expected.lengths.tolist()
