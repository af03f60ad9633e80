"""What each column of a table is: its kind, how long its texts are, how many values it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any, Literal

from objectives.data.inspection.dialects import is_numeral
from objectives.data.inspection.names import IDENTIFIERS, LANGUAGES
from objectives.data.inspection.samples import Sample

Kind = Literal["text", "number", "words", "numbers", "record", "other"]
MOST_CLASSES = 200
ROWS_OF_A_CLASS = 4
"""Rows that a class has at least on average, so that a column is a label."""
WORDS_OF_A_LABEL = 5
"""A label has fewer on average."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: Of the column, with that of a record's field behind a dot.
        kind: Of its cells.
        rows: Of the sample that have a cell.
        distinct: Different values.
        characters: Of a cell on average.
        words: Of a cell on average.
        is_whole: Whether all its numbers are whole.
        is_counted: Whether it numbers the rows.
    """

    name: str
    kind: Kind
    rows: int
    distinct: int
    characters: float
    words: float
    is_whole: bool = False
    is_counted: bool = False

    @property
    def key(self) -> str:
        """Its name as names are compared."""
        return self.name.strip().lower()

    @property
    def is_identifier(self) -> bool:
        """Whether it only names rows."""
        is_named = self.key in IDENTIFIERS or self.key.endswith(("_id", " id"))
        return self.is_counted or (is_named and self.distinct * 2 > self.rows)

    @property
    def has_classes(self) -> bool:
        """Whether its values can be classes: few, short and often."""
        most = min(MOST_CLASSES, max(2, self.rows // ROWS_OF_A_CLASS))
        return 2 <= self.distinct <= most and self.words < WORDS_OF_A_LABEL

    @property
    def is_prose(self) -> bool:
        """Whether its values are texts to read, and no names."""
        return self.kind == "text" and (self.words >= 2.5 or not self.has_classes)


def columns_of(sample: Sample) -> list[Column]:
    """The columns of a sample; a column of records is one for each of their fields."""
    found: list[Column] = []
    for name, cells in sample.columns.items():
        given = [cell for cell in cells if cell is not None and cell != ""]
        if given and all(isinstance(cell, dict) for cell in given):
            keys = dict.fromkeys(key for cell in given for key in cell)
            for key in keys:
                inner = [cell[key] for cell in given if cell.get(key) is not None]
                found.append(_column(f"{name}.{key}", inner))
        else:
            found.append(_column(name, given))
    return found


def _column(name: str, cells: Sequence[Any]) -> Column:
    kind = _kind(cells)
    texts = [str(cell) for cell in cells]
    is_number = kind == "number"
    numbers = [float(text) for text in texts] if is_number else []
    whole = is_number and all(number == int(number) for number in numbers if abs(number) < 1e15)
    counted = (
        whole
        and len(numbers) > 2
        and all(after - before == 1 for before, after in pairwise(numbers))
    )
    return Column(
        name=name,
        kind=kind,
        rows=len(cells),
        distinct=len(set(texts)),
        characters=fmean(map(len, texts)) if texts else 0.0,
        words=fmean(len(text.split()) for text in texts) if texts else 0.0,
        is_whole=whole,
        is_counted=counted,
    )


def _kind(cells: Sequence[Any]) -> Kind:
    if not cells:
        return "other"
    if all(isinstance(cell, list) for cell in cells):
        items = [item for cell in cells for item in cell]
        if items and all(isinstance(item, str) for item in items):
            return "words"
        whole = all(isinstance(item, int) and not isinstance(item, bool) for item in items)
        return "numbers" if items and whole else "other"
    if all(isinstance(cell, dict) for cell in cells):
        return "record"
    if all(isinstance(cell, bool) for cell in cells):
        return "text"
    if all(isinstance(cell, int | float) or is_numeral(str(cell)) for cell in cells):
        finite = all(abs(float(cell)) < float("inf") for cell in cells)
        return "number" if finite else "other"
    return "text" if all(isinstance(cell, str | int | float | bool) for cell in cells) else "other"


def language_of(name: str) -> str | None:
    """The language that the name of a column or a file says, such as that of ``train.en``."""
    last = name.lower().replace("_", ".").replace("-", ".").rpartition(".")[2]
    return last if last in LANGUAGES else None
