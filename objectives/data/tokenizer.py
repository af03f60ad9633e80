"""A byte-level BPE vocabulary trained on the corpus, with RoBERTa's special tokens."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

START, PAD, END, UNKNOWN, MASK = range(5)
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""In RoBERTa's order, so that their numbers are the defaults of its configuration."""


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
