"""CSV and TSV files as tables: each row has a field for each name, or is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objectives.data.errors import Place
from objectives.data.files.dialects import (
    Dialect,
    Unreadable,
    dialect_of,
    is_doubled,
    is_quoted,
    likely_dialect,
    rows_of,
)
from objectives.data.files.notices import Notice
from objectives.data.files.table import Table

if TYPE_CHECKING:
    from spaces.file.inputs.tables import Tables

_SHOWN = 200


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
    empty, repeated = 0, 0
    header: list[str] = []
    names = source.columns and [name.strip() for name in source.columns]
    try:
        for line, fields in rows_of(text, dialect):
            if len(fields) > 1 and not any(map(str.strip, fields)):
                empty += 1
            elif names is None:
                header, names = fields, [field.strip() for field in fields]
            elif fields == header:
                repeated += 1
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
    _check_quotes(rows, lines, names, source, dialect, path, at)
    for count, kind in ((empty, "without any text"), (repeated, "that repeat the names")):
        if count:
            notice(f"{at.source}.{at.split}: {count:,} rows {kind} in {path} are skipped")

    null = frozenset(source.null or ())

    def read(index: int) -> list[Any]:
        return [None if row[index] in null else row[index] for row in rows]

    return Table(
        str(path), names, len(rows), read, lines, hint=_missing(text, dialect, names, source, at)
    )


def _shown(fields: Sequence[str]) -> str:
    shown = ", ".join(map(repr, fields))
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]} …"


def _is_name(cell: str, name: str) -> bool:
    return bool(name) and cell.strip().casefold() == name.casefold()


def _is_spaced(field: str) -> bool:
    return field.startswith(" ") and is_quoted(field.strip(" "))


def _check_quotes(
    rows: Sequence[list[str]],
    lines: Sequence[int],
    names: Sequence[str],
    source: Tables,
    dialect: Dialect,
    path: Path,
    at: Place,
) -> None:
    """Refuse fields in quotes that are taken for text, where the search file does not say so."""
    if dialect.quoting == "none" and source.quoting is None:
        for index, name in enumerate(names):
            if rows and all(is_quoted(row[index]) for row in rows):
                raise at.fault(
                    f"every field of {name!r} in {path} is in quotes; give double if they enclose "
                    "the field, or none if they belong to the text",
                    "quoting",
                )
    key = "quoting" if dialect.quoting == "none" else "skip_spaces"
    is_suspect, given = {
        "quoting": (is_doubled, "double if quotes enclose fields, or none"),
        "skip_spaces": (_is_spaced, "true if the quotes enclose the field, or false"),
    }[key]
    if getattr(source, key) is not None:
        return
    for line, row in zip(lines, rows, strict=True):
        for field in row:
            if '"' in field and is_suspect(field):
                raise at.fault(
                    f"line {line:,} of {path} has {field!r:.{_SHOWN}}; give {given} if they "
                    "belong to the text",
                    key,
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


def _missing(text: str, dialect: Dialect, names: Sequence[str], source: Tables, at: Place) -> str:
    """What to say where a column is missing."""
    if len(names) == 1:
        return _advice(text, dialect, names, at)
    if source.columns is None:
        return f"; if its first line holds no names, give them as {at.source}.columns"
    return ""
