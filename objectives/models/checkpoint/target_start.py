"""The tokens that an encoder-decoder writes before a translation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from objectives.models.checkpoint.errors import CheckpointError

GENERATION = "generation_config.json"


def target_start(name: str, folder: Path, config: Any, tokenizer: Any) -> tuple[str, ...]:
    """The token that the decoder of a checkpoint starts from, and the special token, such as that
    of a language, that stands before the first word, where there is one.

    Args:
        name: As the search file spells the checkpoint.
        config: Its configuration.
        tokenizer: Its tokenizer, as transformers loads it.

    Raises:
        CheckpointError: It names no start or no languages, or has translations of another form.
    """
    unnamed = [
        field
        for field in ("src_lang", "tgt_lang")
        if hasattr(tokenizer, field) and not tokenizer.init_kwargs.get(field)
    ]
    if unnamed:
        raise CheckpointError(
            name,
            f"it knows several languages, and its tokenizer does not say which to translate: write "
            f"{' and '.join(unnamed)} into its tokenizer_config.json",
        )
    before, behind = _around_targets(tokenizer)
    end = tokenizer.sep_token or tokenizer.eos_token
    if behind[:1] != [end] or len(before) > 1:
        raise CheckpointError(
            name,
            f"its tokenizer writes translations as {' '.join([*before, '…', *behind])}; allowed "
            f"are at most one token before them, and {end} behind",
        )
    return (_decoder_start(name, folder, config, tokenizer), *before)


def _around_targets(tokenizer: Any) -> tuple[list[str], list[str]]:
    """The special tokens before and behind a translation; where a tokenizer puts none, those of
    RoBERTa, as for the texts to translate."""
    text = next(each for each in ("a", *tokenizer.get_vocab()) if tokenizer.tokenize(each))
    (encoding,) = tokenizer(text_target=[text]).encodings
    is_text = [sequence is not None for sequence in encoding.sequence_ids]
    first, last = is_text.index(True), len(is_text) - is_text[::-1].index(True)
    before, behind = encoding.tokens[:first], encoding.tokens[last:]
    if not before and not behind:
        start, end = tokenizer.cls_token, tokenizer.sep_token
        return [start or tokenizer.bos_token], [end or tokenizer.eos_token]
    return before, behind


def _decoder_start(name: str, folder: Path, config: Any, tokenizer: Any) -> str:
    file = folder / GENERATION
    try:
        settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        number = settings.get("decoder_start_token_id")
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise CheckpointError(name, f"its {GENERATION} cannot be read: {error}") from error
    if number is None:
        number = getattr(config, "decoder_start_token_id", None)
    token = tokenizer.convert_ids_to_tokens(number) if isinstance(number, int) else None
    if token is None:
        raise CheckpointError(
            name,
            f"its decoder_start_token_id is {number}, which is no token that translations can "
            "start from",
        )
    return str(token)
