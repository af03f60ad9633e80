"""The tokenizer of a checkpoint, with its vocabulary trimmed to a training text.

Tokens are renumbered: the special ones come first, in the order of ``SPECIAL_TOKENS``, so that all
that reads token ids serves models from checkpoints too; the others follow in their old order.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain, count, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from objectives.data.encoding import (
    SPECIAL_TOKENS,
    UNKNOWN,
    Template,
    Tokens,
    token_ids,
    tokenizer_of,
)
from objectives.data.errors import DataError
from spaces.cost.configuration import content_hash

TEXTS_AT_A_TIME = 1000

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_WORD_MARKS = ("##", "▁")
"""What pieces begin with that continue a word (WordPiece), or begin one (SentencePiece)."""
TRIMMABLE = ("WordPiece", "BPE", "Unigram")


@dataclass(frozen=True)
class PretrainedTokenizer:
    """The tokenizer of a checkpoint.

    Args:
        definition: Its ``tokenizer.json``.
        special: The token that stands for each of ``SPECIAL_TOKENS``; None where it has none.
        has_token_types: Whether models tell the texts of a pair apart by the types of tokens.
        target_start: The tokens that stand before a translation: the one that the decoder starts
            from, and that of a language, where the first word follows it; empty without a decoder.
    """

    definition: str
    special: tuple[str | None, ...]
    has_token_types: bool = False
    target_start: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Hash of all that determines its tokens."""
        return content_hash(asdict(self))

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """The number of each of its tokens, as the checkpoint has it."""
        found: dict[str, int] = tokenizer_of(self.definition).get_vocab()
        return found

    @cached_property
    def template(self) -> Template:
        """Where it puts special tokens; where it has none, as RoBERTa does.

        Without types of tokens in models, all have the same.
        """
        tokenizer = tokenizer_of(self.definition)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        # Any text that has tokens shows where texts stand between special tokens.
        text = next(t for t in ("a", *self.vocabulary) if token_ids(tokenizer, [t])[0])
        found = Template.of(tokenizer, text)
        if not any(piece.is_special for piece in found.pair):
            start, _, end, *_ = (name for name, _ in self.first_tokens)
            found = Template.of_roberta([start], end)
        return found if self.has_token_types else found.without_types()

    @property
    def kind(self) -> str:
        """How it divides words: ``WordPiece``, ``BPE`` or ``Unigram``."""
        kind: str = json.loads(self.definition)["model"]["type"]
        return kind

    @cached_property
    def first_tokens(self) -> list[tuple[str, int]]:
        """Its special tokens, as they are renumbered, each with its number in the checkpoint.

        One that it lacks, or that it uses for two purposes, gets a name of its own; -1 where no
        token of the checkpoint stands for it.
        """
        tokens: dict[str, int] = {}
        for usual, token in zip(SPECIAL_TOKENS, self.special, strict=True):
            name = token
            if name is None or name in tokens:
                name = next(
                    candidate
                    for candidate in chain([usual], (f"<{n}-{usual[1:]}" for n in count()))
                    if candidate not in self.vocabulary and candidate not in tokens
                )
            tokens[name] = -1 if token is None else self.vocabulary[token]
        return list(tokens.items())

    @cached_property
    def pieces(self) -> int:
        """Tokens of the whole vocabulary after renumbering."""
        own = {name for name, _ in self.first_tokens}
        return len(own) + len(self.vocabulary.keys() - own)

    def trimmed(self, texts: Iterable[str], size: int) -> tuple[Any, Tokens]:
        """The tokenizer with a smaller vocabulary, renumbered.

        It keeps special tokens, single characters (those of the texts, ASCII, and bytes), and then
        the tokens that the texts use most, each with those that it is merged from. What is left
        of ``size`` is filled up in the old order.

        Returns:
            A ``tokenizers.Tokenizer``, and for each of its tokens the number in the checkpoint, or
            -1, ``(size,)``.

        Raises:
            DataError: The vocabulary has no so many tokens, or more must stay.
        """
        first = dict(self.first_tokens)
        others = {t: n for t, n in self.vocabulary.items() if t not in first}
        if size < self.pieces:
            kept = self._most_used(others, self._counts(texts), size - len(first))
            others = {token: others[token] for token in kept}
        elif size > self.pieces:
            raise DataError(f"space.vocabulary: {size:,} is more than its {self.pieces:,} pieces")
        ordered = [*first, *sorted(others, key=lambda token: others[token])]
        original = [first.get(token, self.vocabulary.get(token, -1)) for token in ordered]
        tokenizer = _renumbered(self.definition, ordered, self.template)
        return tokenizer, np.asarray(original, dtype=np.int32)

    def _counts(self, texts: Iterable[str]) -> npt.NDArray[np.int64]:
        tokenizer = tokenizer_of(self.definition)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        counts = np.zeros(max(self.vocabulary.values()) + 1, dtype=np.int64)
        left = iter(texts)
        while some := list(islice(left, TEXTS_AT_A_TIME)):
            for ids in token_ids(tokenizer, some):
                np.add.at(counts, ids, 1)
        return counts

    def _most_used(
        self, others: dict[str, int], counts: npt.NDArray[np.int64], size: int
    ) -> list[str]:
        used = [token for token, number in others.items() if counts[number]]
        seen = {*string.printable, *"".join(used), *_byte_alphabet(self.definition)}
        kept = {token for token in others if _is_single(token, seen)}
        kept |= others.keys() & {piece.token for piece in self.template.pair if piece.is_special}
        kept |= others.keys() & {*self.target_start}
        if len(kept) > size:
            raise DataError(
                f"space.vocabulary: {size + len(SPECIAL_TOKENS):,} is less than the "
                f"{len(kept) + len(SPECIAL_TOKENS):,} special tokens and single characters, which "
                "must stay"
            )
        parts = _merged_from(self.definition)
        for token in sorted(others, key=lambda token: (-counts[others[token]], others[token])):
            if len(kept) == size:
                break
            needed = {t for t in _with_parts(token, parts) if t in others and t not in kept}
            if len(kept) + len(needed) <= size:
                kept |= needed
        return list(kept)


def _byte_alphabet(definition: str) -> list[str]:
    """The characters that stand for bytes, where a tokenizer divides texts into bytes."""
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel.alphabet() if '"ByteLevel"' in definition else []


def _is_single(token: str, characters: set[str]) -> bool:
    """Whether a token is one of some characters, a byte, or the mark of a word."""
    if token in _WORD_MARKS or _BYTE.fullmatch(token):
        return True
    for mark in _WORD_MARKS:
        token = token.removeprefix(mark) if len(token) > len(mark) else token
    return len(token) == 1 and token in characters


def _merged_from(definition: str) -> dict[str, tuple[str, str]]:
    """The two tokens that each token of BPE is merged from first."""
    parts: dict[str, tuple[str, str]] = {}
    for first, second in map(_pair, json.loads(definition)["model"].get("merges", ())):
        parts.setdefault(first + second, (first, second))
    return parts


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _with_parts(token: str, parts: dict[str, tuple[str, str]]) -> set[str]:
    found, left = set[str](), [token]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left.extend(parts.get(one, ()))
    return found


def _renumbered(definition: str, ordered: Sequence[str], template: Template) -> Any:
    """The tokenizer that has some tokens alone, numbered in an order; the special ones first."""
    document = json.loads(definition)
    model = document["model"]
    numbers = {token: number for number, token in enumerate(ordered)}
    if model["type"] == "Unigram":
        scores = dict(model["vocab"])
        lowest = min(scores.values())
        special = ordered[: len(SPECIAL_TOKENS)]
        # Worse than their characters one by one: else they would be chosen where a text has them.
        scores |= dict.fromkeys(special, (max(map(len, special)) + 1) * lowest - 1.0)
        model["vocab"] = [[token, scores.get(token, lowest)] for token in ordered]
        if model.get("unk_id") is not None:
            model["unk_id"] = UNKNOWN
    else:
        model["vocab"] = numbers
        merges = [_pair(merge) for merge in model.get("merges", ())]
        if merges:
            model["merges"] = [
                [first, second]
                for first, second in merges
                if {first, second, first + second} <= numbers.keys()
            ]
    added = {each["content"]: each for each in document["added_tokens"]}
    usual = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    document["added_tokens"] = [
        {**usual, **added.get(token, {}), "content": token, "id": number, "special": True}
        if number < len(SPECIAL_TOKENS)
        else {**added[token], "id": number}
        for token, number in numbers.items()
        if token in added or number < len(SPECIAL_TOKENS)
    ]
    # Examples are cut and padded where arrays are made of them.
    document |= {"truncation": None, "padding": None}
    document["post_processor"] = template.definition(numbers)
    return tokenizer_of(json.dumps(document))
