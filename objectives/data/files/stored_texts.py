"""Texts in a temporary file: in memory is what is read of them, and some numbers for each."""

from __future__ import annotations

import codecs
import hashlib
import os
import tempfile
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple, overload

import numpy as np
import numpy.typing as npt

BLOCK_BYTES = 1 << 20
"""Of a long text that are read at a time."""

Numbers = npt.NDArray[np.int64]
Digests = npt.NDArray[np.bytes_]
"""SHA-256 of each of some values, ``(values,)``."""


def digest_array(digests: Iterable[bytes]) -> Digests:
    """Digests as an array, in a third of the memory of a list."""
    return np.fromiter(digests, dtype="S32")


class _Marks(NamedTuple):
    """Places in texts of several pieces: bytes from the start of the file, and characters from the
    start of the text, ascending."""

    offsets: array[int]
    characters: array[int]


class Block(NamedTuple):
    """Some characters of a text.

    Args:
        row: Which text.
        start: Their first.
        end: What follows them.
    """

    row: int
    start: int
    end: int


class _Spool:
    """A temporary file without a name, which is gone with the last that reads it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        weakref.finalize(self, _close, self._file)
        self.end = 0

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self.end += len(content)

    def flush(self) -> None:
        self._file.flush()

    def read(self, offset: int, count: int) -> bytes:
        return os.pread(self._file.fileno(), count, offset)


def _close(file: IO[bytes]) -> None:
    # What a full disk did not take is of no use any more.
    with suppress(OSError):
        file.close()


class TextWriter:
    """Writes texts one after another into a temporary file.

    Args:
        folder: Where the file is; it is created.
        skips_blank: Whether texts without any character but white space are left out.
    """

    def __init__(self, folder: Path, *, skips_blank: bool = False) -> None:
        self._spool = _Spool(folder)
        self._skips_blank = skips_blank
        self._starts, self._bytes, self._characters = array("q"), array("q"), array("q")
        self._marks = _Marks(array("q"), array("q"))

    def add(self, pieces: Iterable[str]) -> None:
        """Write a text that is given in pieces."""
        start, characters, is_blank = self._spool.end, 0, True
        for piece in pieces:
            if characters:
                self._marks.offsets.append(self._spool.end)
                self._marks.characters.append(characters)
            is_blank = is_blank and not piece.strip()
            self._spool.write(piece.encode())
            characters += len(piece)
        if is_blank and self._skips_blank:
            # Bytes that no text reads.
            return
        self._starts.append(start)
        self._bytes.append(self._spool.end - start)
        self._characters.append(characters)

    def finish(self) -> StoredTexts:
        """The texts that were written."""
        self._spool.flush()
        columns = (self._starts, self._bytes, self._characters)
        return StoredTexts(self._spool, self._marks, *(np.array(c, np.int64) for c in columns))


class StoredTexts(Sequence[str]):
    """Texts of a temporary file; several of them may read the same one.

    Args:
        spool: The file.
        marks: Places in long texts.
        starts: Where each text begins, in bytes from the start of the file.
        sizes: Bytes of each.
        characters: Characters of each.
    """

    def __init__(
        self, spool: _Spool, marks: _Marks, starts: Numbers, sizes: Numbers, characters: Numbers
    ) -> None:
        self._spool, self._marks = spool, marks
        self._starts, self._sizes = starts, sizes
        self.characters = characters

    @classmethod
    def of(cls, texts: Iterable[str], folder: Path) -> StoredTexts:
        """Some texts, of which no more than one is in memory at a time.

        Args:
            folder: Where the file is.
        """
        writer = TextWriter(folder)
        for text in texts:
            writer.add((text,))
        return writer.finish()

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[str]:
        return map(self._text, range(len(self)))

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        rows = range(len(self))[row]
        return self._text(rows) if isinstance(rows, int) else list(map(self._text, rows))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def _text(self, row: int) -> str:
        return self._spool.read(self._starts[row], self._sizes[row]).decode()

    def select(self, rows: Sequence[int] | Numbers) -> StoredTexts:
        """Some of the texts."""
        chosen = np.asarray(rows, dtype=np.int64)
        columns = (self._starts, self._sizes, self.characters)
        return StoredTexts(self._spool, self._marks, *(column[chosen] for column in columns))

    def digests(self) -> Digests:
        """SHA-256 of each text."""
        return digest_array(map(self._digest, range(len(self))))

    def _digest(self, row: int) -> bytes:
        digest = hashlib.sha256()
        for block in self._blocks(row):
            digest.update(block)
        return digest.digest()

    def _blocks(self, row: int, first: int | None = None) -> Iterator[bytes]:
        """The bytes of a text, from the first one on or from another place in the file."""
        start = int(self._starts[row]) if first is None else first
        end = int(self._starts[row] + self._sizes[row])
        for place in range(start, end, BLOCK_BYTES):
            yield self._spool.read(place, min(BLOCK_BYTES, end - place))

    def pieces(self, row: int, start: int = 0) -> Iterator[str]:
        """A text in pieces, from its first character on or from another one."""
        offset, left_out = self._mark_before(row, start)
        decoder = codecs.getincrementaldecoder("utf-8")()
        for block in self._blocks(row, offset):
            piece = decoder.decode(block)
            yield piece[left_out:]
            left_out = max(0, left_out - len(piece))

    def documents(self) -> Iterator[Iterator[str]]:
        """All texts, each in pieces."""
        return map(self.pieces, range(len(self)))

    def find(self, character: str, block: Block) -> int:
        """Where a character is first in a part of a text; -1 where it is not."""
        place = block.start
        for piece in self.pieces(block.row, block.start):
            if place >= block.end:
                break
            if (found := piece.find(character, 0, block.end - place)) >= 0:
                return place + found
            place += len(piece)
        return -1

    def _mark_before(self, row: int, character: int) -> tuple[int, int]:
        """A place in the file at or before a character of a text, and characters between them."""
        begin = int(self._starts[row])
        offsets, characters = self._marks
        low, high = (bisect_right(offsets, each) for each in (begin, begin + self._sizes[row]))
        mark = bisect_right(characters, character, low, high) - 1
        return (begin, character) if mark < low else (offsets[mark], character - characters[mark])

    def blocks(self, blocks: Iterable[Block]) -> StoredTexts:
        """Parts of texts, as texts; blank ones are left out."""
        columns = np.array([(self._offset(r, a), self._offset(r, b), b - a) for r, a, b in blocks])
        starts, ends, characters = columns.reshape(-1, 3).T
        parts = StoredTexts(self._spool, self._marks, starts, ends - starts, characters)
        full = (any(map(str.strip, pieces)) for pieces in parts.documents())
        return parts.select(np.flatnonzero(np.fromiter(full, dtype=bool)))

    def _offset(self, row: int, character: int) -> int:
        """Where in the file a character of a text is."""
        offset, left = self._mark_before(row, character)
        for piece in self.pieces(row, character - left):
            if left <= len(piece):
                return offset + len(piece[:left].encode())
            offset, left = offset + len(piece.encode()), left - len(piece)
        return offset
