"""CSV and TSV: rows of fields between delimiters.

Python's ``csv`` and not pandas, which takes a surplus field for an index and fills up missing ones,
so that a row of another form shifts its cells into other columns without a word.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from objectives.data.errors import Place
from objectives.data.files.notices import Notice
from objectives.data.files.table import Table
from spaces.file.inputs.tables import Quoting, Tables

_DELIMITERS = (",", "\t", ";", "|")
_SAMPLE = 100_000
"""Characters from which a dialect is guessed, for a message."""
_LONE_RETURN = "\ufdd0"
"""In place of a carriage return, which ``csv`` takes for the end of a row; no character at all."""
_SHOWN = 200

Row = tuple[int, list[str]]
"""The line that a row begins in, and its fields."""


class Dialect(NamedTuple):
    """How the rows of a file are written.

    Args:
        quoting: ``double``: a field may stand in double quotes, which are doubled within it;
            ``backslash``: the same, with a backslash before them; ``none``: a quote is a character.
        comment: What a line begins with that is no row.
        skip_lines: Lines before the first row.
    """

    delimiter: str
    quoting: Quoting
    comment: str | None = None
    skip_lines: int = 0


class Unreadable(ValueError):
    """A row that breaks the rules of its dialect."""


def dialect_of(source: Tables, form: str) -> Dialect:
    """The dialect of the files of a source in the format ``csv`` or ``tsv``."""
    delimiter = {"csv": ",", "tsv": "\t"}[form] if source.delimiter is None else source.delimiter
    # Tab-separated text is written without quoting: a lone " is a character like any other.
    usual: Quoting = "none" if form == "tsv" or len(delimiter) > 1 else "double"
    quoting = usual if source.quoting is None else source.quoting
    return Dialect(delimiter, quoting, source.comment, source.skip_lines)


def read_delimited(
    path: Path, text: str, source: Tables, form: str, at: Place, notice: Notice
) -> Table:
    """A CSV or TSV file, whose text was read, as a table of texts.

    Raises:
        DataError: It cannot be read, or a row has more or fewer fields than there are names.
    """
    dialect = dialect_of(source, form)
    lines: list[int] = []
    rows: list[list[str]] = []
    empty = 0
    names = source.columns and [name.strip() for name in source.columns]
    try:
        for line, fields in rows_of(text, dialect):
            if len(fields) > 1 and not any(map(str.strip, fields)):
                empty += 1
            elif names is None:
                names = [field.strip() for field in fields]
            elif len(fields) != len(names):
                raise at.fault(
                    f"line {line:,} of {path} has {len(fields)} fields, {_shown(fields)}, and "
                    f"there are {len(names)} names, {_shown(names)}"
                    f"{_advice(text, dialect, names, at)}"
                )
            else:
                lines.append(line)
                rows.append(fields)
    except Unreadable as error:
        raise at.fault(f"{error} of {path}{_advice(text, dialect, names or [], at)}") from error
    if names is None:
        raise at.fault(f"{path} holds no rows")
    if source.columns and rows and any(map(_is_name, rows[0], names)):
        raise at.fault(
            f"line {lines[0]:,} of {path} names the columns, {_shown(rows[0])}; leave the field "
            "out",
            "columns",
        )
    if source.quoting is None and dialect.quoting == "none":
        _check_not_quoted(rows, names, path, at)
    if empty:
        notice(f"{at.source}.{at.split}: {empty:,} rows without any text in {path} are skipped")

    null = frozenset(source.null or ())

    def read(index: int) -> list[Any]:
        return [None if row[index] in null else row[index] for row in rows]

    return Table(
        str(path), names, len(rows), read, lines, hint=_missing(text, dialect, names, source, at)
    )


def rows_of(text: str, dialect: Dialect) -> Iterator[Row]:
    """The rows of a text; blank lines are none.

    Raises:
        Unreadable: A quote is not closed, or more than a delimiter follows it.
    """
    feed = _Lines(text, dialect)
    if dialect.quoting == "none":
        for line in feed:
            feed.is_between_rows = True
            if line.strip("\n"):
                yield feed.number, line.removesuffix("\n").split(dialect.delimiter)
        return
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(
        feed,
        delimiter=dialect.delimiter,
        escapechar="\\" if dialect.quoting == "backslash" else None,
        strict=True,
    )
    while True:
        before = feed.number
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise Unreadable(_reason(error, feed.first or before + 1, feed.number)) from error
        feed.is_between_rows = True
        if fields:
            yield feed.first, [field.replace(_LONE_RETURN, "\r") for field in fields]


class _Lines:
    """The lines of a text without comments, counted from 1."""

    def __init__(self, text: str, dialect: Dialect) -> None:
        self.number = 0
        self.first = 0
        """The line that the row begins in which is being read."""
        self.is_between_rows = True
        self._text, self._dialect = text, dialect
        self._lines = self._all()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._lines)

    def _all(self) -> Iterator[str]:
        comment, end = self._dialect.comment, 0
        has_returns = "\r" in self._text and self._dialect.quoting != "none"
        while end < len(self._text):
            start, end = end, (self._text.find("\n", end) + 1 or len(self._text))
            self.number += 1
            line = self._text[start:end]
            if self.is_between_rows:
                if self.number <= self._dialect.skip_lines:
                    continue
                # A quoted field may hold a line that begins like a comment.
                if comment is not None and line.startswith(comment):
                    continue
                self.first, self.is_between_rows = self.number, False
            yield line.replace("\r", _LONE_RETURN) if has_returns else line


def _reason(error: csv.Error, first: int, last: int) -> str:
    if "end of data" in str(error):
        return f"a quote is not closed in the row that begins in line {first:,}"
    return f"more than a delimiter follows a closing quote in line {last:,}"


def _shown(fields: Sequence[str]) -> str:
    shown = ", ".join(map(repr, fields))
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]} …"


def _is_name(cell: str, name: str) -> bool:
    return bool(name) and cell.strip().casefold() == name.casefold()


def _is_quoted(cell: str) -> bool:
    return len(cell) > 1 and cell.startswith('"') and cell.endswith('"')


def _check_not_quoted(
    rows: Sequence[list[str]], names: Sequence[str], path: Path, at: Place
) -> None:
    for index, name in enumerate(names):
        if rows and all(_is_quoted(row[index]) for row in rows):
            raise at.fault(
                f"every field of {name!r} in {path} is in quotes; give double if they enclose the "
                "field, or none if they belong to the text",
                "quoting",
            )


def likely_dialect(text: str, given: Dialect, names: Sequence[str] = ()) -> Dialect | None:
    """The dialect in which the rows of a text have the same number of fields, two or more; None
    where there is none.

    Args:
        given: That which the search file says, the first of several that fit.
        names: Where the file has no header line, those of its columns.
    """
    sample = text if len(text) <= _SAMPLE else text[: text.rfind("\n", 0, _SAMPLE) + 1]
    delimiters = dict.fromkeys((given.delimiter, *_DELIMITERS))
    quotings: tuple[Quoting, ...] = (given.quoting, "double", "backslash", "none")
    for delimiter in delimiters:
        for quoting in dict.fromkeys(quotings):
            if len(delimiter) > 1 and quoting != "none":
                continue
            found = given._replace(delimiter=delimiter, quoting=quoting)
            counts = _counts(sample, found)
            if len(counts) == 1 and min(counts) > 1 and (not names or counts == {len(names)}):
                return found
    return None


def _counts(sample: str, dialect: Dialect) -> set[int]:
    """How many fields rows have; none where one cannot be read."""
    try:
        return {len(fields) for _, fields in islice(rows_of(sample, dialect), 1000)}
    except Unreadable:
        return set()


def _advice(text: str, dialect: Dialect, names: Sequence[str], at: Place) -> str:
    """What to give where the rows would be whole in another dialect."""
    first = names[0] if names else ""
    if dialect.comment is None and first.startswith("#"):
        return f"; if lines that begin with # are comments, give {at.source}.comment: '#'"
    if first.startswith("sep="):
        excel = f"{at.source}.skip_lines: 1 and {at.source}.delimiter: {first[4:] or ','!r}"
        return f"; its first line is one for Excel: give {excel}"
    found = likely_dialect(text, dialect, names if len(names) > 1 else ())
    if found is None or found == dialect:
        if dialect.quoting == "none":
            return "; a field with a delimiter or a line feed in it needs quotes"
        return f"; a field that holds {dialect.delimiter!r} needs double quotes"
    given = {"delimiter": repr(found.delimiter), "quoting": found.quoting}
    changed = [
        f"{at.source}.{key}: {value}"
        for key, value in given.items()
        if getattr(found, key) != getattr(dialect, key)
    ]
    return f"; the file seems to need {' and '.join(changed)}"


def _missing(text: str, dialect: Dialect, names: Sequence[str], source: Tables, at: Place) -> str:
    """What to say where a column is missing."""
    if len(names) == 1:
        return _advice(text, dialect, names, at)
    if source.columns is None:
        return f"; if its first line holds no names, give them as {at.source}.columns"
    return ""
