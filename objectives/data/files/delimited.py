"""CSV and TSV files as tables: each row has a field for each name, or is refused."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objectives.data.errors import Place
from objectives.data.files.dialects import (
    SAMPLE,
    Dialect,
    Row,
    Unreadable,
    dialect_of,
    is_doubled,
    is_quoted,
    likely_dialect,
    rows_of,
)
from objectives.data.files.encodings import lines_of, text_chunks
from objectives.data.files.notices import Notice
from objectives.data.files.table import Table

if TYPE_CHECKING:
    from spaces.file.inputs.tables import Tables

_SHOWN = 200


def read_delimited(path: Path, source: Tables, form: str, at: Place, notice: Notice) -> Table:
    """A CSV or TSV file as a table of texts.

    It is read again for each column, so that no more than a row is in memory.

    Raises:
        DataError: It cannot be read, or a row has more or fewer fields than there are names.
    """
    dialect = dialect_of(source, form)
    rows = _Rows(path, source, dialect, at)
    quotes = _Quotes(source, dialect)
    lines = array("q")
    for line, fields in rows:
        if source.columns and not lines and any(map(_is_name, fields, rows.names)):
            raise at.fault(
                f"line {line:,} of {path} names the columns, {_shown(fields)}; leave the field out",
                "columns",
            )
        lines.append(line)
        quotes.see(line, fields)
    if not rows.names:
        raise at.fault(f"{path} holds no rows")
    names = rows.names
    quotes.check(path, names, at)
    for count, kind in ((rows.empty, "without any text"), (rows.repeated, "that repeat the names")):
        if count:
            notice(f"{at.source}.{at.split}: {count:,} rows {kind} in {path} are skipped")

    null = frozenset(source.null or ())

    def read(index: int) -> Iterator[Any]:
        for _, fields in _Rows(path, source, dialect, at):
            yield None if fields[index] in null else fields[index]

    return Table(str(path), names, len(lines), read, lines, hint=rows.missing_hint())


class _Rows:
    """The rows of a file, each with the line that it begins in.

    Args:
        path: The file.
    """

    def __init__(self, path: Path, source: Tables, dialect: Dialect, at: Place) -> None:
        self._path, self._source, self._dialect, self._at = path, source, dialect, at
        self.names = [name.strip() for name in source.columns or ()]
        self.empty = 0
        """Rows without any text, which are skipped."""
        self.repeated = 0
        """Rows that repeat the names, which are skipped too."""

    def __iter__(self) -> Iterator[Row]:
        header: list[str] = []
        lines = lines_of(self._path, self._source.encoding, self._at)
        try:
            for line, fields in rows_of(lines, self._dialect):
                if len(fields) > 1 and not any(map(str.strip, fields)):
                    self.empty += 1
                elif not self.names:
                    header, self.names = fields, [field.strip() for field in fields]
                elif fields == header:
                    self.repeated += 1
                elif len(fields) != len(self.names):
                    raise self._at.fault(
                        f"line {line:,} of {self._path} has {len(fields)} fields, "
                        f"{_shown(fields)}, and there are {len(self.names)} names, "
                        f"{_shown(self.names)}{self._advice()}"
                    )
                else:
                    yield line, fields
        except Unreadable as error:
            raise self._at.fault(f"{error} of {self._path}{self._advice()}") from error

    def _advice(self) -> str:
        return _advice(self._start(), self._dialect, self.names, self._at)

    def _start(self) -> str:
        """Enough of the text to tell its dialect."""
        start = ""
        for chunk in text_chunks(self._path, self._source.encoding, self._at):
            start += chunk
            if len(start) > SAMPLE:
                break
        return start

    def missing_hint(self) -> str:
        """What to say where a column is missing."""
        if len(self.names) == 1:
            return self._advice()
        if self._source.columns is None:
            first = f"{self._at.source}.columns"
            return f"; if its first line holds no names, give them as {first}"
        return ""


def _shown(fields: Sequence[str]) -> str:
    shown = ", ".join(map(repr, fields))
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]} …"


def _is_name(cell: str, name: str) -> bool:
    return bool(name) and cell.strip().casefold() == name.casefold()


def _is_spaced(field: str) -> bool:
    return field.startswith(" ") and is_quoted(field.strip(" "))


class _Quotes:
    """Refuses fields in quotes that are taken for text, where the search file does not say so."""

    def __init__(self, source: Tables, dialect: Dialect) -> None:
        self._is_plain = dialect.quoting == "none"
        self._source = source
        self._key = "quoting" if self._is_plain else "skip_spaces"
        self._is_open = getattr(source, self._key) is None
        self._quoted: set[int] | None = None
        """Columns of which every field up to now is in quotes."""
        self._suspect: tuple[int, str] | None = None

    def see(self, line: int, fields: Sequence[str]) -> None:
        """Read a further row."""
        if not self._is_open:
            return
        if self._is_plain and self._quoted != set():
            columns = range(len(fields)) if self._quoted is None else self._quoted
            self._quoted = {column for column in columns if is_quoted(fields[column])}
        if self._suspect is None:
            is_suspect = is_doubled if self._is_plain else _is_spaced
            found = (field for field in fields if '"' in field and is_suspect(field))
            self._suspect = next(((line, field) for field in found), None)

    def check(self, path: Path, names: Sequence[str], at: Place) -> None:
        """Refuse what was seen."""
        if self._quoted:
            raise at.fault(
                f"every field of {names[min(self._quoted)]!r} in {path} is in quotes; give double "
                "if they enclose the field, or none if they belong to the text",
                "quoting",
            )
        if self._suspect is not None:
            line, field = self._suspect
            given = (
                "double if quotes enclose fields, or none"
                if self._is_plain
                else "true if the quotes enclose the field, or false"
            )
            raise at.fault(
                f"line {line:,} of {path} has {field!r:.{_SHOWN}}; give {given} if they "
                "belong to the text",
                self._key,
            )


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
    given = {
        "delimiter": repr(found.delimiter),
        "quoting": found.quoting,
        "skip_spaces": str(found.skip_spaces).lower(),
    }
    changed = [
        f"{at.source}.{key}: {value}"
        for key, value in given.items()
        if getattr(found, key) != getattr(dialect, key)
    ]
    return f"; the file seems to need {' and '.join(changed)}"
