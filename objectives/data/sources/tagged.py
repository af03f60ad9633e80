"""Sentences whose words have tags: tables with columns of lists, the Hub, or CoNLL files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from objectives.data.errors import DataError, Place
from objectives.data.files.encodings import lines_of
from objectives.data.files.finding import find_files
from objectives.data.files.notices import Notice, unsaid
from objectives.data.files.table import Table
from objectives.data.sources.cells import groups_of
from objectives.data.sources.splits import Examples, separate
from objectives.data.sources.tables import read_table
from spaces.file.inputs.tables import SPLITS
from spaces.file.sources import ConllFiles, HubTagged, TaggedSource, TaggedTables

FIELD = "data.tagged"
DOCUMENT_START = "-DOCSTART-"
"""First column of a line of a CoNLL file that begins a document and is no word."""

Sentence = tuple[list[str], list[str]]
"""Words and their tags."""


@dataclass(frozen=True)
class TaggedRows(Examples):
    """Sentences of one split: their words with spaces between them, the words, the tag of each, and
    the groups of the sentences where they are known."""

    texts: list[str]
    words: list[list[str]]
    tags: list[list[str]]
    group_names: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, sentences: Sequence[Sentence], groups: Sequence[str] = ()) -> TaggedRows:
        """Those sentences that have words."""
        kept = [row for row, (words, _) in enumerate(sentences) if words]
        words, tags = ([sentences[row][side] for row in kept] for side in (0, 1))
        texts = [" ".join(each) for each in words]
        return cls(texts, words, tags, [groups[row] for row in kept] if groups else [])

    @property
    def groups(self) -> Sequence[str]:
        """The group of each sentence."""
        return self.group_names

    @property
    def classes(self) -> Iterable[Sequence[str]]:
        """The tags of each sentence."""
        return self.tags

    @property
    def pairs(self) -> list[str]:
        """No second texts."""
        return []


def read_tagged(
    source: TaggedSource, cache: Path, splits: Sequence[str] = SPLITS, *, notice: Notice = unsaid
) -> dict[str, TaggedRows]:
    """Read splits of a source of tagged sentences, without common sentences or groups
    (``separate``). Rows without any word are left out.

    Args:
        source: Where the sentences are.
        cache: Folder for what ``datasets`` downloads or converts.
        notice: Called with what is skipped.

    Raises:
        DataError: The data is missing or empty, lacks a column, or has a sentence with other than a
            tag for each word.
    """
    named = [split for split in splits if source.inputs(split)]
    return separate(
        {split: _read_split(source, split, cache, notice) for split in named},
        splits,
        FIELD,
        notice=notice,
    )


def _read_split(source: TaggedSource, split: str, cache: Path, notice: Notice) -> TaggedRows:
    at, given = Place(FIELD, split), source.inputs(split)
    if isinstance(source, ConllFiles):
        files = [path for each in given for path in find_files(each, at, cache)]
        rows = TaggedRows.of(
            [each for file in files for each in _conll_sentences(source, file, at)]
        )
    else:
        rows = _of_table(source, read_table(source, split, FIELD, cache, notice))
    if rows.is_empty:
        raise at.fault(f"{', '.join(given)} holds no words")
    return rows


def _of_table(source: TaggedTables | HubTagged, table: Table) -> TaggedRows:
    sentences: list[Sentence] = []
    both = (table.cells(getattr(source, key), f"{FIELD}.{key}") for key in ("words", "tags"))
    for row, (words, tags) in enumerate(zip(*both, strict=True)):
        place = table.place(row)
        for key, cell in (("words", words), ("tags", tags)):
            if not isinstance(cell, list):
                raise DataError(
                    f"{FIELD}.{key}: {place} has {cell!r:.60}; allowed is a list, with an item for "
                    "each word"
                )
        if len(words) != len(tags):
            raise DataError(
                f"{FIELD}.tags: {place} has {len(words)} words and {len(tags)} tags; each word "
                "needs one"
            )
        sentences.append(([_word(word, place) for word in words], [_tag(t, place) for t in tags]))
    if source.group is None:
        return TaggedRows.of(sentences)
    return TaggedRows.of(sentences, groups_of(table, source.group, FIELD))


def _word(cell: Any, place: str) -> str:
    if not isinstance(cell, str) or not cell.strip():
        raise DataError(
            f"{FIELD}.words: {place} has {cell!r:.60} among its words; allowed is a text that is "
            "not blank"
        )
    return cell


def _tag(cell: Any, place: str) -> str:
    if isinstance(cell, str) and cell.strip():
        return cell.strip()
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    raise DataError(
        f"{FIELD}.tags: {place} has {cell!r:.60} among its tags; allowed is the name or the number "
        "of one"
    )


def _conll_sentences(source: ConllFiles, path: Path, at: Place) -> Iterator[Sentence]:
    words: list[str] = []
    tags: list[str] = []
    count = 0
    for number, line in enumerate(lines_of(path, source.encoding, at), start=1):
        cells = _cells(line)
        if not cells or cells[0] == DOCUMENT_START:
            # Another document is another sentence, also where no blank line says so.
            yield words, tags
            words, tags = [], []
            continue
        place = f"line {number:,} of {path}"
        if len(cells) != (count or len(cells)):
            raise at.fault(f"{place} has {len(cells)} columns, the lines before it {count}")
        count = len(cells)
        columns = {"word": source.word, "tag": source.tag}
        for key, column in columns.items():
            if not -count <= column < count:
                raise DataError(
                    f"{FIELD}.{key}: {place} has {count} columns; {column} is none of them"
                )
            if not cells[column].strip():
                raise DataError(f"{FIELD}.{key}: {place} has none in column {column}")
        if len({column % count for column in columns.values()}) == 1:
            raise at.fault(f"{place} has {count} columns; a word and its tag need two")
        words.append(cells[source.word])
        tags.append(cells[source.tag])
    yield words, tags


def _cells(line: str) -> list[str]:
    """The columns of a line; none of a blank one."""
    if not line.strip():
        return []
    # A word may hold a space where tabs separate columns, and other white space than these.
    if "\t" in line:
        return [cell.strip() for cell in line.split("\t")]
    return [cell for cell in line.split(" ") if cell]
