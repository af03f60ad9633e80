"""The characters of files: their encoding, and the ends of their lines."""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from objectives.data.errors import Place
from objectives.data.files.opening import byte_chunks

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    # That of UTF-16 is the beginning of that of UTF-32.
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks, which say the encoding of a file."""
_CANDIDATES = (
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r", "cp874",
    "shift_jis", "euc_jp", "gb18030", "big5", "euc_kr",
)  # fmt: skip
"""Encodings that are guessed, for a message."""
_WESTERN = frozenset(
    "àâäáãåæçèéêëìíîïñòóôöõøœùúûüßÀÂÄÁÅÆÇÈÉÊËÍÎÏÑÓÔÖØŒÙÚÛÜ“”‘’„–—…€£«»°¿¡§ªº©®½·•™´\xa0"
)
_FEW = 0.3
"""Fraction of the letters of a Western text that at most are not ASCII."""
_RETURNS = re.compile("\r+\n")
"""The end of a line on Windows; some programs write its carriage return twice."""
_SAMPLE = 200_000
_ZEROS = 0.3
"""Fraction of zero bytes from which on a text is of two bytes a character."""
_SHOWN = 30
"""Characters of a line that are shown as an encoding would read them."""


def read_text(path: Path, encoding: str | None, at: Place) -> str:
    """The whole text of a file (``text_chunks``)."""
    return "".join(text_chunks(path, encoding, at))


def text_chunks(path: Path, encoding: str | None, at: Place) -> Iterator[str]:
    """The text of a file, some at a time, without its byte order mark, and with line feeds at the
    ends of lines.

    A lone carriage return is a character like any other, but in files of old Macs, which have no
    line feed.

    Args:
        encoding: As the search file gives it; by default UTF-8, or that of the byte order mark.

    Raises:
        DataError: The file cannot be read, is no text, or has another encoding.
    """
    held, has_feeds = "", False
    for chunk in _decoded(path, encoding, at):
        held += chunk
        has_feeds = has_feeds or "\n" in held
        if has_feeds or "\r" not in held:
            # Carriage returns at its end may stand before a line feed.
            end = len(held.rstrip("\r"))
            yield _RETURNS.sub("\n", held[:end])
            held = held[end:]
    yield held if has_feeds else with_line_feeds(held)


def with_line_feeds(text: str) -> str:
    """A text whose lines end with line feeds: not with those of Windows, or of old Macs, where it
    has no other."""
    text = _RETURNS.sub("\n", text) if "\r" in text else text
    return text if "\n" in text else text.replace("\r", "\n")


def lines_of(path: Path, encoding: str | None, at: Place) -> Iterator[str]:
    """The lines of a file, which line feeds end, and no other character that Unicode counts as the
    end of a line; arguments and errors as of ``text_chunks``."""
    held = ""
    for chunk in text_chunks(path, encoding, at):
        *lines, held = (held + chunk).split("\n")
        yield from lines
    if held:
        yield held


def _decoded(path: Path, encoding: str | None, at: Place) -> Iterator[str]:
    chunks = byte_chunks(path, at)
    first = next(chunks)
    marked = next((name for mark, name in _MARKS.items() if first.startswith(mark)), None)
    name = encoding or marked or "utf-8"
    other = _OtherThanUtf8(path, encoding, at)
    decoder = _decoder(name, is_marked=marked is not None)
    lines, text_lines, mark = 1, 1, "\ufeff"
    for chunk, is_last in _and_whether_last(chain([first], chunks)):
        other.check(chunk, is_last=is_last)
        is_open = encoding is None and marked is None
        if is_open and b"\0" in chunk and (looks := likely_encoding(first)):
            raise at.fault(f"{path} looks like {looks}; give it", "encoding")
        try:
            text = decoder.decode(chunk, is_last)
        except UnicodeError as error:
            other.check(b"", is_last=True)
            # What the chunk before left incomplete stands before this one.
            content, where = getattr(error, "object", chunk), getattr(error, "start", 0)
            line = lines + content.count(b"\n", 0, where)
            fault = f"line {line:,} of {path} is not {name.upper()}"
            if name == "utf-8" and _is_mostly_utf8(first):
                fault += ", as the other lines are; correct it"
            elif encoding is None and (looks := likely_encoding(first)):
                fault += _as_read(content, where, looks)
            raise at.fault(fault, "encoding") from error
        text, mark = text.removeprefix(mark), "" if text else mark
        if (where := text.find("\0")) >= 0:
            line = text_lines + text.count("\n", 0, where)
            raise at.fault(f"line {line:,} of {path} has a zero byte; a text is needed")
        lines += chunk.count(b"\n")
        text_lines += text.count("\n")
        yield text


def _decoder(name: str, *, is_marked: bool) -> codecs.IncrementalDecoder:
    codec = codecs.lookup(name).name
    if codec in ("utf-16", "utf-32") and not is_marked:
        # Without a mark it refuses what bytes.decode reads in the order of this machine.
        codec += "-le" if sys.byteorder == "little" else "-be"
    return codecs.getincrementaldecoder(codec)()


def _and_whether_last(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    before = b""
    for chunk in chunks:
        if before:
            yield before, False
        before = chunk
    yield before, True


def _as_read(content: bytes, where: int, encoding: str) -> str:
    """What a place looks like in the encoding that the file seems to have."""
    start = max(content.rfind(b"\n", 0, where) + 1, where - _SHOWN)
    shown = content[start:].decode(encoding, "replace").partition("\n")[0][: 2 * _SHOWN].strip()
    return f"; it looks like {encoding}, which reads {shown!r}: give it if that is right"


class _OtherThanUtf8:
    """Refuses an encoding that takes each byte of UTF-8 for a character.

    Args:
        encoding: As the search file gives it.
    """

    def __init__(self, path: Path, encoding: str | None, at: Place) -> None:
        self._is_possible = encoding is not None and not codecs.lookup(encoding).name.startswith(
            "utf"
        )
        self._fault = f"{path} is UTF-8, and not {encoding}; leave the field out"
        self._at = at
        self._is_ascii = True
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def check(self, chunk: bytes, *, is_last: bool) -> None:
        """Read a further chunk of the file."""
        if not self._is_possible:
            return
        self._is_ascii = self._is_ascii and chunk.isascii()
        try:
            self._decoder.decode(chunk, is_last)
        except UnicodeDecodeError:
            self._is_possible = False
            return
        if is_last and not self._is_ascii:
            raise self._at.fault(self._fault, "encoding")


def _is_mostly_utf8(content: bytes) -> bool:
    """Whether more characters are those of UTF-8, beyond ASCII, than are none."""
    characters = [each for each in content[:_SAMPLE].decode(errors="replace") if not each.isascii()]
    return 2 * characters.count("\ufffd") < len(characters)


def likely_encoding(content: bytes) -> str | None:
    """The encoding that a text seems to have, which is not UTF-8; None where nothing fits."""
    sample = content[:_SAMPLE]
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, others = (sample[place::2].count(0) for place in (first, 1 - first))
        if zeros > max(_ZEROS * len(sample) / 2, 4 * others):
            return name
    if 0 in sample:
        return None
    if _is_western(sample.decode("cp1252", "replace")):
        return "cp1252"
    from charset_normalizer import from_bytes

    # The lines that differ between encodings; most others are ASCII.
    telling = b"\n".join(line for line in sample.split(b"\n") if not line.isascii())
    best = from_bytes(telling, cp_isolation=list(_CANDIDATES)).best()
    return None if best is None else best.encoding


def _is_western(text: str) -> bool:
    """Whether all characters that are not ASCII are usual in Western texts, and few are letters."""
    others = [character for character in text if not character.isascii()]
    lines = [line for line in text.split("\n") if not line.isascii()]
    letters = [character for line in lines for character in line if character.isalpha()]
    foreign = sum(not letter.isascii() for letter in letters)
    return _WESTERN.issuperset(others) and foreign <= _FEW * len(letters)
