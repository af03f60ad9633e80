"""Cells of a table as texts, and as names of classes or groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from objectives.data.errors import DataError
from objectives.data.files.table import Table

_KINDS = {
    list: "a list", dict: "a record", bytes: "bytes", bool: "a truth value", int: "a number",
    float: "a number",
}  # fmt: skip
_WHOLE = 2.0**53
"""Up to here, floats are exact whole numbers."""
_SHOWN = 60


def texts_of(table: Table, column: str, key: str) -> Iterator[str | None]:
    """The texts of a column; null is None.

    Args:
        column: Its name, or a path into its records.
        key: The field of the search file that names it, for messages.

    Raises:
        DataError: There is no such column, or a cell is no text.
    """
    return _texts(table, table.cells(column, key), column, key)


def _texts(table: Table, cells: Iterable[Any], column: str, key: str) -> Iterator[str | None]:
    for row, cell in enumerate(cells):
        if is_missing(cell):
            yield None
        elif isinstance(cell, str):
            yield _encodable(cell, row, table, key)
        else:
            raise _refusal(cell, "a text", f"{key}: {table.place(row)}", column)


def names_of(table: Table, column: str, key: str) -> Iterator[str | None]:
    """The cells of a column as names of classes or groups, without white space around them; null,
    and a blank one, is None.

    Raises:
        DataError: There is no such column, or a cell is no name and no number.
    """
    return _names(table, table.cells(column, key), column, key)


def _names(table: Table, cells: Iterable[Any], column: str, key: str) -> Iterator[str | None]:
    for row, cell in enumerate(cells):
        if is_missing(cell):
            yield None
            continue
        if isinstance(cell, list | dict | bytes):
            raise _refusal(cell, "a name or a number", f"{key}: {table.place(row)}", column)
        if isinstance(cell, float) and cell.is_integer() and abs(cell) < _WHOLE:
            # Whole numbers are floats in a column with nulls.
            cell = int(cell)
        yield _encodable(str(cell).strip(), row, table, key) or None


def groups_of(table: Table, column: str, field: str) -> list[str]:
    """The group of each row.

    Args:
        field: Path of the source in the search file.

    Raises:
        DataError: There is no such column, or a row has no group.
    """
    found: list[str] = []
    for row, group in enumerate(names_of(table, column, f"{field}.group")):
        if group is None:
            raise DataError(f"{field}.group: {table.place(row)} has none")
        found.append(group)
    return found


def _refusal(cell: Any, allowed: str, place: str, column: str) -> DataError:
    shown = repr(cell)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]} …"
    kind = _KINDS.get(type(cell), f"a {type(cell).__name__}")
    said = f"{place} has {kind}, {shown}; {allowed} is needed"
    if isinstance(cell, dict) and cell:
        said += f", such as that of {column}.{next(iter(cell))}"
    return DataError(said)


def _encodable(cell: str, row: int, table: Table, key: str) -> str:
    """A cell without a half of a surrogate pair, which JSON can write, and no file of text can
    hold."""
    if cell.isascii():
        return cell
    try:
        cell.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{key}: {table.place(row)} has a half of a surrogate pair, which is no character"
        ) from None
    return cell


def is_missing(cell: Any) -> bool:
    """Whether a cell is null, or NaN, which pandas uses for null."""
    return cell is None or bool(isinstance(cell, float) and cell != cell)


def is_blank(texts: Sequence[str]) -> bool:
    """Whether there is no text but white space."""
    return not any(text.strip() for text in texts)
