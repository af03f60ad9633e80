"""Running text as documents, which are held out whole, or in contiguous blocks.

Lines that are held out at random would stand next to lines that a model was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from objectives.data.errors import DataError, Place
from objectives.data.files.encodings import read_text
from objectives.data.files.notices import Notice, unsaid
from objectives.data.files.opening import find_files, format_of
from objectives.data.sources import standard_library
from objectives.data.sources.cells import is_blank, texts_of
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

    texts: list[str]

    @property
    def sizes(self) -> Sequence[int]:
        """Characters of each."""
        return list(map(len, self.texts))

    def keys(self) -> None:
        """Equal documents, such as short rows, may be in several splits."""
        return

    @property
    def is_empty(self) -> bool:
        """Whether every document is blank."""
        return is_blank(self.texts)


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
        return {split: Documents(list(standard_library.unlabelled(split))) for split in splits}
    named = [split for split in splits if source.inputs(split)]
    given = {split: _read_split(source, split, field, cache, notice) for split in named}
    missing = [split for split in splits if split not in given]
    if missing and len(given["train"].texts) < LEAST_DOCUMENTS:
        pieces = [_blocks(text, missing) for text in given["train"].texts]
        for split in ("train", *missing):
            given[split] = Documents([text for each in pieces for text in each[split]])
    return separate(given, splits, field)


def _read_split(
    source: Files | HubText, split: str, field: str, cache: Path, notice: Notice
) -> Documents:
    origin, at = str(getattr(source, split)), Place(field, split)
    plain = [] if isinstance(source, HubText) else _plain_files(source, at)
    if plain:
        texts = [part for text in plain for part in _documents(text, source)]
    else:
        table = read_table(source, split, field, cache, notice)
        texts = [cell or "" for cell in texts_of(table, source.text, f"{field}.text")]
        if source.divisions() and source.document != "row":
            texts = _documents("\n".join(text.removesuffix("\n") for text in texts), source)
    found = Documents([text for text in texts if text.strip()])
    if found.is_empty:
        raise DataError(f"{field}.{split}: {origin} holds no text")
    return found


def _plain_files(source: Files, at: Place) -> list[str]:
    """The texts of the files of a split where they are plain; none where they are tables."""
    files = find_files(getattr(source, at.split), at)
    forms = {format_of(path, source.format, at.source) for path in files}
    for name in source.unread("text") if "text" in forms else ():
        raise at.fault("is no field of files of plain text", name)
    return [read_text(path, source.encoding, at) for path in files] if forms == {"text"} else []


def _documents(text: str, source: TextColumns) -> list[str]:
    """The documents of a text."""
    if source.separator is not None:
        return [part.strip("\n") for part in text.split(source.separator)]
    if source.heading is not None:
        starts = [match.start() for match in re.finditer(source.heading, text, re.MULTILINE)]
        return [text[a:b] for a, b in zip([0, *starts], [*starts, len(text)], strict=True)]
    if source.document == "paragraph":
        return _BLANK_LINES.split(text)
    return text.split("\n") if source.document in ("line", "row") else [text]


def _blocks(text: str, missing: Sequence[str]) -> dict[str, list[str]]:
    """Divide a document into the splits, each of which gets several contiguous blocks.

    Blocks are spread over the document and end with a line.
    """
    count = int(min(MOST_BLOCKS, max(1.0, HELD_OUT * len(text) / LEAST_BLOCK)))
    cuts: list[tuple[str, int]] = []
    for block in range(count):
        for number, split in enumerate(missing, start=1):
            end = (block + number / len(missing)) / count
            size = HELD_OUT / count
            cuts.append(("train", _end_of_line(text, end - size, within=size / 2)))
            cuts.append((split, _end_of_line(text, end, within=size / 2)))
    pieces: dict[str, list[str]] = {split: [] for split in ("train", *missing)}
    start = 0
    for split, end_of_block in cuts:
        if text[start:end_of_block].strip():
            pieces[split].append(text[start:end_of_block])
        start = end_of_block
    return pieces


def _end_of_line(text: str, fraction: float, *, within: float) -> int:
    """Where the line ends that is at a fraction of a text; that place itself, if the line goes on
    for more than a further fraction."""
    place = round(fraction * len(text))
    end = text.find("\n", place, place + round(within * len(text)))
    return place if end < 0 else end + 1
