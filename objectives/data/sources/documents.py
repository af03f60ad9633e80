"""Running text as documents, which are held out whole, or in contiguous blocks.

Lines that are held out at random would stand next to lines that a model was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from objectives.data.errors import Place
from objectives.data.files.encodings import text_chunks
from objectives.data.files.finding import find_files
from objectives.data.files.notices import Notice, unsaid
from objectives.data.files.opening import format_of
from objectives.data.files.stored_texts import Block, Numbers, StoredTexts, TextWriter
from objectives.data.sources import standard_library
from objectives.data.sources.cells import texts_of
from objectives.data.sources.splits import HELD_OUT, Examples, separate
from objectives.data.sources.tables import read_table
from spaces.file.inputs.tables import SPLITS
from spaces.file.sources import (
    Files,
    HubText,
    StandardLibrary,
    TextColumns,
    TextSource,
)

LEAST_DOCUMENTS = 10
"""Of fewer documents, contiguous blocks are held out, and not whole documents."""
MOST_BLOCKS = 20
"""Blocks of one document in a held-out split: the more, the better they represent it."""
LEAST_BLOCK = 16_000
"""Characters of a block, at least, so that few of its lines are neighbours of training text."""
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")


@dataclass(frozen=True)
class Documents(Examples):
    """The documents of one split."""

    texts: StoredTexts

    @property
    def sizes(self) -> Numbers:
        """Characters of each."""
        return self.texts.characters

    def keys(self) -> None:
        """Equal documents, such as short rows, may be in several splits."""
        return


def read_documents(
    source: TextSource,
    field: str,
    cache: Path,
    splits: Sequence[str] = SPLITS,
    *,
    notice: Notice = unsaid,
) -> dict[str, Documents]:
    """Read splits of running text; missing ones are held out of the training text.

    Args:
        source: Where the text is.
        field: Its path in the search file, for messages.
        cache: Folder for what ``datasets`` downloads or converts.
        notice: Called with what is skipped.

    Raises:
        DataError: The data is missing or empty.
    """
    if isinstance(source, StandardLibrary):
        return {
            split: Documents(StoredTexts.of(standard_library.unlabelled(split), cache))
            for split in splits
        }
    named = [split for split in splits if source.inputs(split)]
    given = {split: _read_split(source, split, field, cache, notice) for split in named}
    missing = [split for split in splits if split not in given]
    if missing and len(given["train"].texts) < LEAST_DOCUMENTS:
        given |= _blocks(given["train"].texts, missing)
    return separate(given, splits, field)


def _read_split(
    source: Files | HubText, split: str, field: str, cache: Path, notice: Notice
) -> Documents:
    at = Place(field, split)
    writer = TextWriter(cache, skips_blank=True)
    if isinstance(source, Files) and (plain := _plain_files(source, at, cache)):
        for path in plain:
            for document in _documents(text_chunks(path, source.encoding, at), source):
                writer.add(document)
    else:
        table = read_table(source, split, field, cache, notice)
        texts = (cell or "" for cell in texts_of(table, source.text, f"{field}.text"))
        is_joined = source.divisions() and source.document != "row"
        for document in _documents(_lines(texts), source) if is_joined else zip(texts):
            writer.add(document)
    found = Documents(writer.finish())
    if found.is_empty:
        raise at.fault(f"{', '.join(source.inputs(split))} holds no text")
    return found


def _plain_files(source: Files, at: Place, cache: Path) -> list[Path]:
    """The files of a split where they are of plain text; none where they are tables."""
    files = [path for given in source.inputs(at.split) for path in find_files(given, at, cache)]
    forms = {format_of(path, source.format, at.source) for path in files}
    for name in source.unread("text") if "text" in forms else ():
        raise at.fault("is no field of files of plain text", name)
    return files if forms == {"text"} else []


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Texts with a line feed between each two of them, and none at their ends."""
    for row, text in enumerate(texts):
        yield "\n" * (row > 0) + text.removesuffix("\n")


def _documents(chunks: Iterable[str], source: TextColumns) -> Iterator[Iterable[str]]:
    """The documents of a text that is given in chunks, each in pieces."""
    if source.separator is not None:
        for part in _divided(chunks, re.compile(re.escape(source.separator))):
            yield (part.strip("\n"),)
    elif source.heading is not None:
        heading = re.compile(source.heading, re.MULTILINE)
        yield from zip(_divided(chunks, heading, begins_part=True))
    elif source.document == "paragraph":
        yield from zip(_divided(chunks, _BLANK_LINES))
    elif source.document in ("line", "row"):
        yield from zip(_divided(chunks, re.compile("\n")))
    else:
        yield chunks


def _divided(
    chunks: Iterable[str], pattern: re.Pattern[str], *, begins_part: bool = False
) -> Iterator[str]:
    """The parts of a text, between which a pattern matches, or which begin where it matches."""
    held, further = "", ""
    for chunk in chunks:
        further += chunk
        if len(further) < len(held):
            # A long part is not searched again with every chunk.
            continue
        held, further, start = held + further, "", 0
        for match in pattern.finditer(held):
            # With the next chunk, a match at the end could be another one.
            if match.end() == len(held):
                break
            yield held[start : match.start()]
            start = match.start() if begins_part else match.end()
        held = held[start:]
    held, start = held + further, 0
    for match in pattern.finditer(held):
        yield held[start : match.start()]
        start = match.start() if begins_part else match.end()
    yield held[start:]


def _blocks(texts: StoredTexts, missing: Sequence[str]) -> dict[str, Documents]:
    """Divide documents into the splits, each of which gets several contiguous blocks of each.

    Blocks are spread over a document and end with a line.
    """
    blocks: dict[str, list[Block]] = {split: [] for split in ("train", *missing)}
    for row, characters in enumerate(texts.characters.tolist()):
        count = int(min(MOST_BLOCKS, max(1.0, HELD_OUT * characters / LEAST_BLOCK)))
        start, size = 0, HELD_OUT / count
        for block in range(count):
            for number, split in enumerate(missing, start=1):
                end = (block + number / len(missing)) / count
                for name, fraction in (("train", end - size), (split, end)):
                    end_of_block = _end_of_line(texts, row, fraction, within=size / 2)
                    blocks[name].append(Block(row, start, end_of_block))
                    start = end_of_block
    return {split: Documents(texts.blocks(each)) for split, each in blocks.items()}


def _end_of_line(texts: StoredTexts, row: int, fraction: float, *, within: float) -> int:
    """Where the line ends that is at a fraction of a text; that place itself, if the line goes on
    for more than a further fraction."""
    characters = int(texts.characters[row])
    place, most = round(fraction * characters), round(within * characters)
    end = texts.find("\n", Block(row, place, min(place + most, characters)))
    return place if end < 0 else end + 1
