"""Dialects of CSV and TSV: how fields are separated and quoted, and which one a text seems to have.

Python's ``csv`` and not pandas, which takes a surplus field for an index and fills up missing ones,
so that a row of another form shifts its cells into other columns without a word.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, product
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from spaces.file.inputs.tables import Quoting, Tables

_DELIMITERS = (",", "\t", ";", "|")
SAMPLE = 100_000
"""Characters from which a dialect is guessed, for a message."""
_LONE_RETURN = "\ufdd0"
"""In place of a carriage return, which ``csv`` takes for the end of a row; no character at all."""

Row = tuple[int, list[str]]
"""The line that a row begins in, and its fields."""


class Dialect(NamedTuple):
    """How the rows of a file are written.

    Args:
        quoting: ``double``: a field may stand in double quotes, which are doubled within it;
            ``backslash``: the same, with a backslash before them; ``none``: a quote is a character.
        comment: What a line begins with that is no row.
        skip_lines: Lines before the first row.
        skip_spaces: Whether spaces after a delimiter belong to no field.
    """

    delimiter: str
    quoting: Quoting
    comment: str | None = None
    skip_lines: int = 0
    skip_spaces: bool = False


class Unreadable(ValueError):
    """A row that breaks the rules of its dialect."""


def dialect_of(source: Tables, form: str) -> Dialect:
    """The dialect of the files of a source in the format ``csv`` or ``tsv``."""
    delimiter = {"csv": ",", "tsv": "\t"}[form] if source.delimiter is None else source.delimiter
    # Tab-separated text is written without quoting: a lone " is a character like any other.
    usual: Quoting = "none" if form == "tsv" or len(delimiter) > 1 else "double"
    quoting = usual if source.quoting is None else source.quoting
    spaces = bool(source.skip_spaces)
    return Dialect(delimiter, quoting, source.comment, source.skip_lines, spaces)


def rows_of(lines: Iterable[str], dialect: Dialect) -> Iterator[Row]:
    """The rows of a text that is given by its lines, without line feeds; blank lines are none.

    Raises:
        Unreadable: A quote is not closed, or more than a delimiter follows it.
    """
    feed = _Lines(lines, dialect)
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
        skipinitialspace=dialect.skip_spaces,
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
    """Lines without comments, counted from 1."""

    def __init__(self, lines: Iterable[str], dialect: Dialect) -> None:
        self.number = 0
        self.first = 0
        """The line that the row begins in which is being read."""
        self.is_between_rows = True
        self._dialect = dialect
        self._lines = self._all(lines)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._lines)

    def _all(self, lines: Iterable[str]) -> Iterator[str]:
        comment, is_plain = self._dialect.comment, self._dialect.quoting == "none"
        for line in lines:
            self.number += 1
            if self.is_between_rows:
                if self.number <= self._dialect.skip_lines:
                    continue
                # A quoted field may hold a line that begins like a comment.
                if comment is not None and line.startswith(comment):
                    continue
                self.first, self.is_between_rows = self.number, False
            yield (line if is_plain else line.replace("\r", _LONE_RETURN)) + "\n"


def _reason(error: csv.Error, first: int, last: int) -> str:
    if "end of data" in str(error):
        return f"a quote is not closed in the row that begins in line {first:,}"
    return f"more than a delimiter follows a closing quote in line {last:,}"


def is_quoted(field: str) -> bool:
    """Whether a field begins and ends with a double quote."""
    return len(field) > 1 and field.startswith('"') and field.endswith('"')


def is_doubled(field: str) -> bool:
    """Whether a field is in quotes with doubled ones in it, and no single one."""
    inner = field[1:-1]
    return is_quoted(field) and '""' in inner and '"' not in inner.replace('""', "")


def likely_dialect(text: str, given: Dialect, names: Sequence[str] = ()) -> Dialect | None:
    """The dialect in which the rows of a text have the same number of fields, two or more; None
    where there is none.

    Args:
        given: That which the search file says, the first of several that fit.
        names: Where the file has no header line, those of its columns.
    """
    sample = text if len(text) <= SAMPLE else text[: text.rfind("\n", 0, SAMPLE) + 1]
    delimiters = dict.fromkeys((given.delimiter, *_DELIMITERS))
    quotings: tuple[Quoting, ...] = (given.quoting, "double", "backslash", "none")
    for delimiter in delimiters:
        for quoting, spaces in product(dict.fromkeys(quotings), (given.skip_spaces, True)):
            if (quoting != "none" and len(delimiter) > 1) or (quoting == "none" and spaces):
                continue
            found = given._replace(delimiter=delimiter, quoting=quoting, skip_spaces=spaces)
            counts = _counts(sample, found)
            if len(counts) == 1 and min(counts) > 1 and (not names or counts == {len(names)}):
                return found
    return None


def _counts(sample: str, dialect: Dialect) -> set[int]:
    """How many fields rows have; none where one cannot be read."""
    try:
        return {len(fields) for _, fields in islice(rows_of(sample.split("\n"), dialect), 1000)}
    except Unreadable:
        return set()
