"""Vocabulary and sequence length, which follow the data where a search file leaves them out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from objectives.data.arrays import deviation_of
from objectives.data.encoding import encode_texts, token_stream, train_tokenizer
from objectives.data.prepare import splits_of_running_text
from objectives.data.prepared_data import TextLengths
from objectives.data.pretrained_tokenizer import PretrainedTokenizer
from objectives.data.sources.reading import Texts, read_texts
from objectives.data.sources.text import read_labelled
from spaces.file.base_task import BaseTask
from spaces.file.sources import Data

SMALLEST_VOCABULARY, LARGEST_VOCABULARY = 512, 16_384
VOCABULARY_STEP = 128
FREQUENT = 100
"""Occurrences in the training text from which on a token can be learned."""
FREQUENT_FRACTION = 0.95
"""Fraction of the tokens that must be frequent (Gowda and May 2020, arXiv 2004.02334)."""
SAMPLE_CHARACTERS = 10_000_000
"""Of the training text, from which the vocabulary's size is chosen."""
SHORTEST, LONGEST, LENGTH_STEP = 16, 512, 8
"""Bounds and steps of the sequence length, in tokens."""


def with_default_sizes(
    data: Data,
    task: BaseTask,
    root: Path,
    pretrained: PretrainedTokenizer | None = None,
    *,
    texts: Texts | None = None,
) -> Data:
    """The same data with the sizes that its search file leaves out.

    The vocabulary is the largest in which 95 % of the merged tokens occur 100 times in the training
    text. The sequence length is that of 99 % of the training texts, and so is the length of those
    to write. Running text alone keeps the default: its documents are longer than any sequence.

    Args:
        root: Folder of prepared data, into which data sets are downloaded.
        pretrained: The tokenizer of the checkpoint that models start from, whose vocabulary a
            search file does not set.
        texts: What ``texts_of`` read before; read here where it is left out.

    Raises:
        DataError: The data is missing or empty.
    """
    missing = data.missing_sizes()
    if not missing:
        return data
    if texts is None:
        texts = texts_of(data, task, root)
    sizes: dict[str, int] = {}
    if "vocabulary_size" in missing:
        sizes["vocabulary_size"] = default_vocabulary(list(texts.sample()))
    lengths = {name: each for name, each in _columns(texts).items() if name in missing and each}
    if lengths:
        vocabulary = sizes.get("vocabulary_size", data.vocabulary_size)
        tokenizer = (
            train_tokenizer(texts.sample(), vocabulary)
            if pretrained is None
            else pretrained.trimmed(texts.sample(), pretrained.pieces)[0]
        )
        sizes |= {name: _default_length(each, tokenizer) for name, each in lengths.items()}
    return data.model_copy(update={n: sizes.get(n, getattr(data, n)) for n in missing})


def texts_of(data: Data, task: BaseTask, root: Path) -> Texts:
    """The texts of some data, as a task reads them.

    Args:
        root: As of ``with_default_sizes``.

    Raises:
        DataError: The data is missing or empty.
    """
    return read_texts(
        data,
        splits_of_running_text(task),
        root / "datasets",
        are_numbers=task.labels == "numbers",
    )


def label_deviation(data: Data, root: Path) -> float:
    """Standard deviation of training labels that are numbers.

    Args:
        root: As of ``with_default_sizes``.

    Raises:
        DataError: The data is missing, or a label is no number.
    """
    assert data.labelled is not None
    rows = read_labelled(data.labelled, "data.labelled", root / "datasets", are_numbers=True)
    return deviation_of(rows["train"])


def default_vocabulary(corpus: Sequence[str]) -> int:
    """The size of the vocabulary for a training text.

    A byte-level BPE of the largest size is trained on a sample. Its merges are undone from the last
    one on, which gives the counts of every smaller vocabulary.
    """
    total = sum(map(len, corpus))
    sample, characters = list[str](), 0
    for text in corpus[:: max(1, total // SAMPLE_CHARACTERS)]:
        sample.append(text[: SAMPLE_CHARACTERS - characters])
        characters += len(sample[-1])
        if characters >= SAMPLE_CHARACTERS:
            break
    tokenizer = train_tokenizer(sample, LARGEST_VOCABULARY)
    stream = token_stream(tokenizer, sample)
    counts = np.bincount(stream, minlength=tokenizer.get_vocab_size())
    return _largest_frequent(counts, _merges(tokenizer), FREQUENT * characters / max(1, total))


def _merges(tokenizer: Any) -> list[tuple[int, int]]:
    """The two tokens that each merge joins, in the order of the tokens that they make."""
    model = json.loads(tokenizer.to_str())["model"]
    return [(model["vocab"][first], model["vocab"][second]) for first, second in model["merges"]]


def _largest_frequent(counts: Any, merges: list[tuple[int, int]], frequent: float) -> int:
    """The largest vocabulary of which enough tokens are frequent.

    Args:
        counts: Occurrences of each token under all merges, which are undone in place.
    """
    alphabet = len(counts) - len(merges)
    for size in range(len(counts), SMALLEST_VOCABULARY, -1):
        made = counts[alphabet:size]
        if size % VOCABULARY_STEP == 0 and np.mean(made >= frequent) >= FREQUENT_FRACTION:
            return size
        for part in merges[size - 1 - alphabet]:
            counts[part] += counts[size - 1]
    return SMALLEST_VOCABULARY


Column = tuple[Sequence[str], Sequence[str]]
"""Texts, and the second texts of pairs that are read together."""


def _columns(texts: Texts) -> dict[str, list[Column]]:
    """The training texts that each length has to hold, by the field of ``Data``."""
    read: list[Column] = []
    written: list[Column] = []
    if texts.labelled:
        read.append((texts.labelled["train"].texts, texts.labelled["train"].pairs))
    if texts.tagged:
        read.append((texts.tagged["train"].texts, []))
    if texts.pairs:
        read.append((texts.pairs["train"].sources, []))
        written.append((texts.pairs["train"].targets, []))
    return {"sequence_length": read, "target_length": written}


def _default_length(columns: Sequence[Column], tokenizer: Any) -> int:
    longest = max(
        TextLengths.of(
            encode_texts(tokenizer, *each, sequence_length=SHORTEST).whole_lengths, SHORTEST
        ).percentile_99
        for each in columns
    )
    return min(LONGEST, max(SHORTEST, -(-longest // LENGTH_STEP) * LENGTH_STEP))
