"""The characters of files: their encoding, and the ends of their lines."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from objectives.data.errors import Place
from objectives.data.files.opening import read_bytes

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
    """The text of a file, without its byte order mark, and with line feeds at the ends of lines.

    A lone carriage return is a character like any other, but in files of old Macs, which have no
    line feed.

    Args:
        encoding: As the search file gives it; by default UTF-8, or that of the byte order mark.

    Raises:
        DataError: The file cannot be read, is no text, or has another encoding.
    """
    content = read_bytes(path, at)
    text = _decoded(content, path, encoding, at).removeprefix("\ufeff")
    if (where := text.find("\0")) >= 0:
        line = text.count("\n", 0, where) + 1
        raise at.fault(f"line {line:,} of {path} has a zero byte; a text is needed")
    return with_line_feeds(text)


def with_line_feeds(text: str) -> str:
    """A text whose lines end with line feeds: not with those of Windows, or of old Macs, where it
    has no other."""
    text = _RETURNS.sub("\n", text) if "\r" in text else text
    return text if "\n" in text else text.replace("\r", "\n")


def lines_of(path: Path, encoding: str | None, at: Place) -> list[str]:
    """The lines of a file, which line feeds end, and no other character that Unicode counts as the
    end of a line; arguments and errors as of ``read_text``."""
    return read_text(path, encoding, at).removesuffix("\n").split("\n")


def _decoded(content: bytes, path: Path, encoding: str | None, at: Place) -> str:
    marked = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    if encoding is not None:
        _check_given(content, path, encoding, at)
    elif marked is None and b"\0" in content and (looks := likely_encoding(content)):
        raise at.fault(f"{path} looks like {looks}; give it", "encoding")
    name = encoding or marked or "utf-8"
    try:
        return content.decode(name)
    except UnicodeError as error:
        where = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = content.count(b"\n", 0, where) + 1
        fault = f"line {line:,} of {path} is not {name.upper()}"
        if name == "utf-8" and _is_mostly_utf8(content):
            raise at.fault(f"{fault}, as the other lines are; correct it", "encoding") from error
        looks = likely_encoding(content) if encoding is None else None
        if looks is not None:
            start = content.rfind(b"\n", 0, where) + 1
            shown = content[max(start, where - _SHOWN) :].decode(looks, "replace")
            shown = shown.partition("\n")[0][: 2 * _SHOWN].strip()
            fault += f"; it looks like {looks}, which reads {shown!r}: give it if that is right"
        raise at.fault(fault, "encoding") from error


def _is_mostly_utf8(content: bytes) -> bool:
    """Whether more characters are those of UTF-8, beyond ASCII, than are none."""
    characters = [each for each in content[:_SAMPLE].decode(errors="replace") if not each.isascii()]
    return 2 * characters.count("\ufffd") < len(characters)


def _check_given(content: bytes, path: Path, encoding: str, at: Place) -> None:
    """Refuse an encoding that takes each byte of UTF-8 for a character."""
    if content.isascii() or codecs.lookup(encoding).name.startswith("utf"):
        return
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return
    raise at.fault(f"{path} is UTF-8, and not {encoding}; leave the field out", "encoding")


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
