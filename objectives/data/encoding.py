"""Texts as the arrays that models read, in training and in prediction.

Tokens are of a byte-level BPE vocabulary trained on the corpus, with RoBERTa's special tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from itertools import chain
from pathlib import Path
from threading import Thread, current_thread, main_thread
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

START, PAD, END, UNKNOWN, MASK = range(5)
IGNORED = -100
"""A label that is not predicted, as in transformers."""
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""In RoBERTa's order, so that their numbers are the defaults of its configuration."""

LONGEST_WORD = 256
"""Bytes of text without a space that are merged as one; the time that BPE takes to train grows with
the square of this length."""
PART_CHARACTERS = 16_384
LONGEST_PART = 1 << 20
CHARACTERS_AT_A_TIME = 2_000_000
"""That are encoded: their tokens take some hundred bytes each meanwhile."""

_LINE_STARTS = re.compile(r"(?<=\n)(?=\S)")

T = TypeVar("T")
Tokens = npt.NDArray[np.int32]
Labels = npt.NDArray[Any]
"""Classes, or numbers; ``IGNORED`` where there is none."""
Pixels = npt.NDArray[np.uint8]
Normalisation = npt.NDArray[np.float32]
"""What pixels are divided by, and what is then subtracted, for each channel ``(2, channels)``."""


class Piece(NamedTuple):
    """A special token, or where a text stands: ``A``, or ``B`` for the second one of a pair."""

    token: str
    type: int
    is_special: bool


class Template(NamedTuple):
    """Where special tokens stand in a text and in a pair of texts."""

    single: tuple[Piece, ...]
    pair: tuple[Piece, ...]

    @classmethod
    def of_roberta(cls, start: Sequence[str], end: str) -> Template:
        """RoBERTa's, which has two end tokens between the texts of a pair, after some start
        tokens."""
        first, last = tuple(Piece(token, 0, True) for token in start), Piece(end, 0, True)
        a, b = Piece("A", 0, False), Piece("B", 0, False)
        return cls((*first, a, last), (*first, a, last, last, b, last))

    @classmethod
    def of(cls, tokenizer: Any, text: str) -> Template:
        """That of a ``tokenizers.Tokenizer`` that neither cuts nor pads.

        Args:
            text: Any text that has tokens.
        """
        return cls(_pieces(tokenizer.encode(text)), _pieces(tokenizer.encode(text, text)))

    def without_types(self) -> Template:
        """The same where all tokens are of one type."""
        return Template(*(tuple(piece._replace(type=0) for piece in pieces) for pieces in self))

    def definition(self, numbers: Mapping[str, int]) -> dict[str, Any]:
        """The post-processor in a ``tokenizer.json`` whose tokens have some numbers."""
        names = sorted({piece.token for piece in self.pair + self.single if piece.is_special})
        return {
            "type": "TemplateProcessing",
            "single": [_definition(piece) for piece in self.single],
            "pair": [_definition(piece) for piece in self.pair],
            "special_tokens": {
                name: {"id": name, "ids": [numbers[name]], "tokens": [name]} for name in names
            },
        }


def _pieces(encoding: Any) -> tuple[Piece, ...]:
    found: list[Piece] = []
    columns = zip(encoding.tokens, encoding.sequence_ids, encoding.type_ids, strict=True)
    for token, sequence, token_type in columns:
        is_special = sequence is None
        piece = Piece(token if is_special else "AB"[sequence], token_type, is_special)
        if is_special or piece not in found:
            found.append(piece)
    return tuple(found)


def _definition(piece: Piece) -> dict[str, Any]:
    kind = "SpecialToken" if piece.is_special else "Sequence"
    return {kind: {"id": piece.token, "type_id": piece.type}}


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> Any:
    """Train a ``tokenizers.Tokenizer`` of at most this many tokens; a small corpus gives fewer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS[UNKNOWN]))
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.FixedLength(LONGEST_WORD)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    _interruptible(lambda: tokenizer.train_from_iterator(texts, trainer))
    template = Template.of_roberta([SPECIAL_TOKENS[START]], SPECIAL_TOKENS[END])
    return with_template(tokenizer, template)


def with_template(tokenizer: Any, template: Template) -> Any:
    """The same ``tokenizers.Tokenizer`` with special tokens at other places."""
    document = json.loads(tokenizer.to_str())
    document["post_processor"] = template.definition(tokenizer.get_vocab())
    return tokenizer_of(json.dumps(document))


def tokenizer_of(definition: str) -> Any:
    """The ``tokenizers.Tokenizer`` of a ``tokenizer.json``, to which a ``<s>`` or ``[MASK]`` in a
    text is text: special tokens stand where a template puts them, and nowhere else."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(definition)
    # Its file has no field for this.
    tokenizer.encode_special_tokens = True
    return tokenizer


def load_tokenizer(file: Path) -> Any:
    """The ``tokenizers.Tokenizer`` that was saved to a file (``tokenizer_of``)."""
    return tokenizer_of(file.read_text(encoding="utf-8"))


def text_bytes(tokenizer: Any, sequences: list[list[int]]) -> list[int]:
    """Bytes in UTF-8 of the text of each sequence of tokens; special tokens are no text."""
    return [len(text.encode()) for text in tokenizer.decode_batch(sequences)]


class EncodedTexts(NamedTuple):
    """Texts as a model reads them."""

    tokens: Tokens
    """Token ids ``(examples, sequence)``, padded at the end."""
    types: Tokens
    """The type of each token, which tells the texts of a pair apart, ``(examples, sequence)``; 0
    for padding."""
    lengths: Tokens
    """Tokens of each without padding ``(examples,)``."""
    whole_lengths: Tokens
    """Tokens that each would have if it were not cut ``(examples,)``."""


def encode_texts(
    tokenizer: Any, texts: Sequence[str], seconds: Sequence[str] = (), *, sequence_length: int
) -> EncodedTexts:
    """Texts, or pairs of them, with the special tokens of a tokenizer, cut and padded at the end.

    What does not fit is cut from the longer text of a pair, and where both are longer than half,
    from both (``longest_first``).

    Args:
        tokenizer: A ``tokenizers.Tokenizer`` whose post-processor adds special tokens.
        seconds: The second text of each pair; empty where there are no pairs.
        sequence_length: Most tokens of an example, the special ones included.
    """
    batches = encoded_batches(tokenizer, texts, seconds, sequence_length=sequence_length)
    return EncodedTexts(*map(np.concatenate, zip(*batches, strict=True)))


def encoded_batches(
    tokenizer: Any, texts: Sequence[str], seconds: Sequence[str] = (), *, sequence_length: int
) -> Iterator[EncodedTexts]:
    """The same, some texts at a time."""
    rows = zip(texts, seconds, strict=True) if len(seconds) else zip(texts)
    for some in _some_at_a_time(rows, lambda row: sum(map(len, row))):
        yield _encoded(tokenizer, some, sequence_length)


def _encoded(tokenizer: Any, rows: Sequence[tuple[str, ...]], sequence_length: int) -> EncodedTexts:
    firsts, *seconds = (_encodings(tokenizer, column) for column in zip(*rows, strict=True))
    others = seconds[0] if seconds else [None] * len(firsts)
    special = tokenizer.num_special_tokens_to_add(bool(seconds))
    tokens = np.full((len(firsts), sequence_length), PAD, dtype=np.int32)
    types = np.zeros_like(tokens)
    lengths, whole = (np.empty(len(firsts), dtype=np.int32) for _ in range(2))
    tokenizer.enable_truncation(sequence_length)
    for row, (first, second) in enumerate(zip(firsts, others, strict=True)):
        example = tokenizer.post_process(first, second)
        lengths[row] = len(example)
        whole[row] = len(first) + (0 if second is None else len(second)) + special
        tokens[row, : len(example)] = example.ids
        types[row, : len(example)] = example.type_ids
    tokenizer.no_truncation()
    return EncodedTexts(tokens, types, lengths, whole)


def _encodings(tokenizer: Any, texts: Sequence[str]) -> list[Any]:
    given = list(texts)
    return _interruptible(lambda: tokenizer.encode_batch_fast(given, add_special_tokens=False))


def _interruptible(call: Callable[[], T]) -> T:
    """The result of a call of ``tokenizers``, which runs in another thread: Python handles signals
    in the main one alone, and not while compiled code runs there."""
    if current_thread() is not main_thread():
        return call()
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            # A panic of Rust is no Exception.
            outcome.set_exception(error)

    Thread(target=run, name="tokenizers", daemon=True).start()
    return outcome.result()


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts, without special tokens around them."""
    return [encoding.ids for encoding in _encodings(tokenizer, texts)]


def token_stream(tokenizer: Any, documents: Iterable[str]) -> Tokens:
    """Token ids of whole documents ``(tokens,)``, newlines included, with an end token after each.

    Long documents are encoded in parts, in parallel.
    """
    return np.concatenate([*token_batches(tokenizer, ((text,) for text in documents))])


def token_batches(tokenizer: Any, documents: Iterable[Iterable[str]]) -> Iterator[Tokens]:
    """The same, of documents that are given in pieces, some parts of them at a time."""
    parts = chain.from_iterable(map(_marked_last, map(document_parts, documents)))
    for some in _some_at_a_time(parts, lambda part: len(part[0])):
        every = token_ids(tokenizer, [part for part, _ in some])
        ends = [[END] if is_last else [] for _, is_last in some]
        yield np.fromiter(chain.from_iterable(chain(*zip(every, ends, strict=True))), np.int32)


def _some_at_a_time(items: Iterable[T], characters: Callable[[T], int]) -> Iterator[list[T]]:
    some: list[T] = []
    count = 0
    for item in items:
        some.append(item)
        count += characters(item)
        if count >= CHARACTERS_AT_A_TIME:
            yield some
            some, count = [], 0
    if some:
        yield some


def _marked_last(parts: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Parts, each with whether it is the last one."""
    before: str | None = None
    for part in parts:
        if before is not None:
            yield before, False
        before = part
    if before is not None:
        yield before, True


def document_parts(pieces: Iterable[str]) -> Iterator[str]:
    """A document, which is given in pieces, in the parts that are encoded apart, each of which
    begins with a line that begins with no space.

    Where blank lines end a part, its last tokens are others than in the whole document. A part
    without the beginning of a line for very long is divided before a space.
    """
    held, least = "", PART_CHARACTERS
    for piece in pieces:
        held += piece
        start = 0
        while True:
            if match := _LINE_STARTS.search(held, start + least):
                yield from _divided(held[start : match.start()])
                start, least = match.start(), PART_CHARACTERS
            elif len(held) - start > LONGEST_PART:
                end = _before_a_space(held, start)
                yield held[start:end]
                start, least = end, 0
            else:
                break
        held = held[start:]
    yield from _divided(held)


def _divided(part: str) -> Iterator[str]:
    start = 0
    while len(part) - start > LONGEST_PART:
        end = _before_a_space(part, start)
        yield part[start:end]
        start = end
    yield part[start:]


def _before_a_space(part: str, start: int) -> int:
    end = part.rfind(" ", start + 1, start + LONGEST_PART)
    return end if end > start else start + LONGEST_PART
