"""A table: named columns of cells, and where each row stands in its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from objectives.data.errors import DataError


@dataclass(frozen=True)
class Table:
    """Rows of one or several files, or of a data set.

    Args:
        origin: Where they are, for messages.
        column_names: Names of all columns, in their order; one may occur twice.
        rows: Number of rows.
        read: Reads the cells of a column, by its place among the names; null is None.
        lines: The line of each row; empty where a file has no lines.
        parts: The tables that it was joined from.
        hint: What to say where a column is missing.
    """

    origin: str
    column_names: Sequence[str]
    rows: int
    read: Callable[[int], Iterable[Any]]
    lines: Sequence[int] = ()
    parts: Sequence[Table] = ()
    hint: str = field(default="", compare=False)

    def __len__(self) -> int:
        return self.rows

    def place(self, row: int) -> str:
        """Where a row is, counted from 0: ``line 3 of a.csv``."""
        for part in self.parts:
            if row < part.rows:
                return part.place(row)
            row -= part.rows
        where = f"line {self.lines[row]:,}" if self.lines else f"row {row + 1:,}"
        return f"{where} of {self.origin}"

    def cells(self, column: str, key: str) -> Iterator[Any]:
        """The cells of a column such as ``text``, or ``meta.body``, a field of the records in
        ``meta``.

        Args:
            key: The field of the search file that names it.

        Raises:
            DataError: There is no such column, or several.
        """
        name, *inner = [column] if column in self.column_names else column.split(".")
        count = self.column_names.count(name)
        if count == 0:
            for part in self.parts:
                part.cells(column, key)
            found = ", ".join(map(str, self.column_names))
            raise DataError(
                f"{key}: no column {name!r} in {self.origin}; it has: {found}{self.hint}"
            )
        if count > 1:
            raise DataError(
                f"{key}: {self.origin} has {count} columns {name!r}; give each its own name"
            )
        values = self.read(list(self.column_names).index(name))
        return (
            self._inside(value, inner, f"{key}: no {column!r}", row)
            for row, value in enumerate(values)
        )

    def _inside(self, value: Any, steps: Sequence[str], missing: str, row: int) -> Any:
        for step in steps:
            if value is None:
                break
            if not isinstance(value, dict) or step not in value:
                has = ", ".join(value) if isinstance(value, dict) else f"{value!r:.100}"
                raise DataError(f"{missing} in {self.place(row)}; it has: {has}")
            value = value[step]
        return value


def joined(tables: Sequence[Table], origin: str) -> Table:
    """The rows of several tables, one after the other; a column that one of them lacks is none.

    Args:
        origin: What names all of them.
    """
    if len(tables) == 1:
        return tables[0]
    names = list(tables[0].column_names)
    common = [name for name in names if all(name in each.column_names for each in tables)]

    def read(index: int) -> Iterator[Any]:
        name = common[index]
        columns = (each.read(list(each.column_names).index(name)) for each in tables)
        return chain.from_iterable(columns)

    return Table(origin, common, sum(map(len, tables)), read, parts=tables)
