"""How a text file was written: its encoding, the delimiter of its cells, and its header."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from objectives.data.errors import DataError, Place
from objectives.data.files import dialects
from objectives.data.files.encodings import likely_encoding, with_line_feeds
from objectives.data.files.opening import read_start
from objectives.data.inspection.names import ALL_NAMES

HEAD_BYTES = 4_000_000
"""Of a file, from which its dialect is read."""
SAMPLE_ROWS = 2_000
DELIMITERS = (",", "\t", ";", "|")
SAME_WIDTH = 0.98
"""Fraction of the lines that must have the same number of cells, so that a file is a table."""
LONGEST_NAME = 40
"""Characters of a column's name."""


@dataclass(frozen=True)
class Dialect:
    """How the cells of a table are separated.

    Args:
        delimiter: Between the cells of a row.
        has_header: Whether the first row names the columns.
        rows: Cells of the first rows, without the header.
        names: Of the columns; ``column_1``, … without a header.
        options: Fields of the source that say how rows are written otherwise, such as ``quoting``.
    """

    delimiter: str
    has_header: bool
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    options: Mapping[str, Any] = field(default_factory=dict)


def read_head(path: Path) -> tuple[str, str]:
    """The beginning of a text file in whole lines, and its encoding.

    UTF-8 and UTF-16 are recognised; of other bytes every encoding makes some text, and the one is
    taken whose characters look like a language's (``likely_encoding``).

    Raises:
        DataError: The file cannot be read, is empty, or holds no text.
    """
    content = read_start(path, Place("", ""), HEAD_BYTES)
    is_cut = len(content) == HEAD_BYTES
    for encoding in _candidates(content):
        try:
            text = content.decode(encoding, errors="strict" if not is_cut else "ignore")
            text = with_line_feeds(text)
        except UnicodeDecodeError:
            continue
        if is_cut:
            text = text[: text.rfind("\n") + 1] or text
        if "\0" in text:
            raise DataError(f"{path} holds binary data, and no text")
        return text, encoding
    raise DataError(f"{path} holds binary data, or text in an unknown encoding")


def _candidates(content: bytes) -> Sequence[str]:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ("utf-16",)
    if content.startswith(b"\xef\xbb\xbf"):
        return ("utf-8-sig",)
    zeros = content[:1000].count(0)
    if zeros > len(content[:1000]) // 4:
        return ("utf-16-le", "utf-16-be") if content[1] == 0 else ("utf-16-be",)
    try:
        # A character at the end of what was read may be cut.
        content[: max(1, len(content) - 3)].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(content) - 7:
            looks = likely_encoding(content)
            return () if looks is None else (looks,)
    return ("utf-8",)


def table_dialect(text: str, suffixes: Sequence[str]) -> Dialect | None:
    """How the rows of a text are written; None where it is no table.

    Args:
        suffixes: Of the file's name, which decide between equals.
    """
    usual = "\t" if ".tsv" in suffixes else ","
    # Commas are in texts too: of equal fractions, the usual delimiter goes first.
    delimiters = sorted(DELIMITERS, key=lambda each: each != usual)
    best: tuple[float, int, str, list[list[str]]] | None = None
    for delimiter in delimiters:
        rows = _rows(text, delimiter)
        width, count = Counter(map(len, rows)).most_common(1)[0] if rows else (1, 0)
        same = count / max(1, len(rows))
        # A file that is named as a table may have one column.
        least = 1 if delimiter == usual and {".csv", ".tsv"} & {*suffixes} else 2
        if width < least or same < SAME_WIDTH:
            continue
        if best is None or (width > 1 and (best[1] == 1 or same > best[0] + 0.005)):
            best = (same, width, delimiter, rows)
    options: dict[str, Any] = {}
    if found := _exact(text, None if best is None else best[2], suffixes):
        rows, options = found
        if rows:
            best = (1.0, len(rows[0]), options.pop("delimiter"), rows)
    if best is None:
        return None
    _, width, delimiter, rows = best
    kept = [tuple(row) for row in rows if len(row) == width]
    has_header = _has_header(kept)
    header = tuple(name.strip() for name in kept[0])
    names = header if has_header else tuple(f"column_{n}" for n in range(1, width + 1))
    return Dialect(delimiter, has_header, names, tuple(kept[has_header:]), options)


def _exact(
    text: str, delimiter: str | None, suffixes: Sequence[str]
) -> tuple[list[list[str]], dict[str, Any]] | None:
    """The first rows where all have as many fields, and the fields of a source that say how they
    are written: the delimiter, and what is not the default.

    Args:
        delimiter: The one that was found; None where lines have different numbers of cells.
    """
    if delimiter is None and not {".csv", ".tsv"} & {*suffixes}:
        return None
    is_tsv = ".tsv" in suffixes or (delimiter == "\t" and ".csv" not in suffixes)
    usual = dialects.Dialect(delimiter or (is_tsv and "\t") or ",", "none" if is_tsv else "double")
    found = dialects.likely_dialect(text, usual)
    if text.startswith("#"):
        others = dialects.likely_dialect(text, usual._replace(comment="#"))
        if others and (found is None or ALL_NAMES.intersection(_first_names(text, others))):
            found = others
    if found is None or delimiter not in (None, found.delimiter):
        return None
    if found.quoting == "none" and any(map(dialects.is_doubled, _fields(text, found))):
        found = found._replace(quoting="double")
    rows = [
        fields for _, fields in islice(dialects.rows_of(text.split("\n"), found), SAMPLE_ROWS + 1)
    ]
    changed = {
        name: value
        for name, value in found._asdict().items()
        if name != "delimiter" and value != getattr(usual, name)
    }
    return rows, {**changed, "delimiter": found.delimiter}


def _first_names(text: str, dialect: dialects.Dialect) -> list[str]:
    _, fields = next(dialects.rows_of(text.split("\n"), dialect))
    return [field.strip().lower() for field in fields]


def _fields(text: str, dialect: dialects.Dialect) -> Iterator[str]:
    for _, fields in islice(dialects.rows_of(text.split("\n"), dialect), SAMPLE_ROWS):
        yield from fields


def _rows(text: str, delimiter: str) -> list[list[str]]:
    """The first rows. Tab-separated text is written without quoting: a lone " is a character like
    any other."""
    stream = io.StringIO(text, newline="")
    if delimiter == "\t":
        reader = csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(stream, delimiter=delimiter)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) > SAMPLE_ROWS:
                break
    except csv.Error:
        return []
    return rows


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: it is unlike the cells below it."""
    first, rest = rows[0], rows[1:]
    names = [cell.strip().lower() for cell in first]
    # The first column may be an index, which pandas writes without a name.
    if len({*names}) < len(names) or not all(names[1:]):
        return False
    if any(len(name) > LONGEST_NAME or is_numeral(name) for name in names) or not rest:
        return False
    if len(ALL_NAMES.intersection(names)) * 2 >= len(names):
        return True
    for index, name in enumerate(names):
        below = [row[index].strip() for row in rest]
        if all(map(is_numeral, below)):
            return True
        values = {each.lower() for each in below}
        if len(values) * 4 <= len(below) and name not in values:
            return True
    return False


def is_numeral(cell: str) -> bool:
    """Whether a cell is the text of a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
