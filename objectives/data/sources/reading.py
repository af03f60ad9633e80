"""The texts of a task, of all its sources, and what of them vocabularies are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from objectives.data.encoding import document_parts
from objectives.data.files.notices import Notice, unsaid
from objectives.data.files.stored_texts import StoredTexts, TextWriter
from objectives.data.sources.documents import Documents, read_documents
from objectives.data.sources.sentence_pairs import SentencePairRows, read_sentence_pairs
from objectives.data.sources.tagged import TaggedRows, read_tagged
from objectives.data.sources.text import TextRows, read_labelled
from spaces.file.sources import Data, OfLabelled

SAMPLE_CHARACTERS = 50_000_000
"""Of training texts, from which a vocabulary is made: more hardly change it, and take memory."""


class Texts(NamedTuple):
    """The texts of a task by split; empty where it reads none of a kind."""

    running: dict[str, Documents]
    labelled: dict[str, TextRows]
    pairs: dict[str, SentencePairRows]
    tagged: dict[str, TaggedRows]

    @property
    def characters(self) -> int:
        """Of all training texts."""
        return sum(
            int(each.characters.sum()) if isinstance(each, StoredTexts) else sum(map(len, each))
            for each in self._columns
        )

    def sample(self) -> Iterator[str]:
        """The training texts that vocabularies are made of: all, or of more than
        ``SAMPLE_CHARACTERS`` characters, parts at equal distances."""
        stride = -(-self.characters // SAMPLE_CHARACTERS)
        if stride <= 1:
            return chain.from_iterable(self._columns)
        documents = chain.from_iterable(
            each.documents() if isinstance(each, StoredTexts) else zip(each)
            for each in self._columns
        )
        return islice(chain.from_iterable(map(document_parts, documents)), 0, None, stride)

    @property
    def _columns(self) -> list[Sequence[str]]:
        columns: list[Sequence[str]] = []
        if self.running:
            columns.append(self.running["train"].texts)
        if self.labelled:
            columns += [self.labelled["train"].texts, self.labelled["train"].pairs]
        if self.pairs:
            columns += [self.pairs["train"].sources, self.pairs["train"].targets]
        if self.tagged:
            columns.append(self.tagged["train"].texts)
        return columns


def read_texts(
    data: Data,
    text_splits: tuple[str, ...],
    cache: Path,
    *,
    are_numbers: bool = False,
    notice: Notice = unsaid,
) -> Texts:
    """Read the texts of a task; of running text, only ``text_splits``.

    Args:
        are_numbers: Whether labels must be numbers.
        cache: Folder for what ``datasets`` downloads or converts.
        notice: Called with what is skipped, merged or guessed.
    """
    running: dict[str, Documents] = {}
    labelled: dict[str, TextRows] = {}
    pairs: dict[str, SentencePairRows] = {}
    tagged: dict[str, TaggedRows] = {}
    if data.labelled is not None:
        labelled = read_labelled(
            data.labelled, "data.labelled", cache, are_numbers=are_numbers, notice=notice
        )
    if data.parallel is not None:
        pairs = read_sentence_pairs(data.parallel, cache, notice=notice)
    if data.tagged is not None:
        tagged = read_tagged(data.tagged, cache, notice=notice)
    if isinstance(data.unlabelled, OfLabelled):
        rows = labelled or tagged
        running = {split: _without_labels(rows[split], cache) for split in text_splits}
    elif data.unlabelled is not None:
        running = read_documents(
            data.unlabelled, "data.unlabelled", cache, text_splits, notice=notice
        )
    return Texts(running, labelled, pairs, tagged)


def _without_labels(rows: TextRows | TaggedRows, cache: Path) -> Documents:
    """The texts of some rows, of pairs both, as documents."""
    writer = TextWriter(cache, skips_blank=True)
    for text in chain(rows.texts, rows.pairs):
        writer.add((text,))
    return Documents(writer.finish())
