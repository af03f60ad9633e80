"""Labelled texts of the standard library, of local files, or of the Hugging Face Hub."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from objectives.data.errors import DataError
from objectives.data.files.notices import Notice, unsaid
from objectives.data.sources import standard_library
from objectives.data.sources.splits import Examples, separate
from objectives.data.sources.tables import is_blank, is_missing, read_columns
from spaces.file.inputs.tables import SPLITS
from spaces.file.sources import Files, HubText, StandardLibrary, TextSource

_COLUMNS = ("text", "label", "text_pair", "group")


@dataclass(frozen=True)
class TextRows(Examples):
    """Labelled texts of one split, with the second texts where rows are pairs, and the groups of
    the rows where they are known."""

    texts: list[str]
    labels: list[str]
    pairs: list[str] = field(default_factory=list)
    group_names: list[str] = field(default_factory=list)

    @property
    def groups(self) -> Sequence[str]:
        """The group of each row."""
        return self.group_names

    @property
    def classes(self) -> Sequence[Sequence[str]]:
        """The label of each row."""
        return [(label,) for label in self.labels]

    def keys(self) -> list[tuple[str, str]]:
        """Both texts of each row."""
        seconds = self.pairs or [""] * len(self.texts)
        return list(zip(self.texts, seconds, strict=True))

    @property
    def is_empty(self) -> bool:
        """Whether every text is blank."""
        return is_blank(self.texts)


@dataclass(frozen=True)
class NumberedRows(TextRows):
    """Texts with numbers to predict in place of labels."""

    @property
    def classes(self) -> Sequence[Sequence[str]]:
        """None: numbers are no classes."""
        return ()


def read_labelled(
    source: TextSource,
    field: str,
    cache: Path,
    splits: Sequence[str] = SPLITS,
    *,
    are_numbers: bool = False,
    notice: Notice = unsaid,
) -> dict[str, TextRows]:
    """Read splits of a source of labelled texts, without common texts or groups (``separate``).

    Args:
        source: Where the rows are.
        field: Its path in the search file, for messages.
        cache: Folder for what ``datasets`` downloads or converts.
        are_numbers: Whether labels must be numbers.
        notice: Called with what is skipped or merged.

    Raises:
        DataError: The data is missing, empty, lacks a column, or has a label that is no number.
    """
    if isinstance(source, StandardLibrary):
        if are_numbers:
            raise DataError(f"{field}: the labels of the standard library are packages, no numbers")
        snippets = {split: standard_library.labelled(split) for split in splits}
        rows = {
            split: TextRows(each.texts, each.packages, group_names=each.files)
            for split, each in snippets.items()
        }
    else:
        named = [split for split in splits if source.inputs(split)]
        rows = {
            split: _read_split(source, split, field, cache, are_numbers=are_numbers)
            for split in named
        }
    return separate(rows, splits, field)


def _read_split(
    source: Files | HubText, split: str, field: str, cache: Path, *, are_numbers: bool
) -> TextRows:
    columns = {key: name for key in _COLUMNS if (name := getattr(source, key)) is not None}
    cells = read_columns(source, columns, split, field, cache)
    origin = str(getattr(source, split))
    for key, values in cells.items():
        _check_no_gaps(values, key, f"{field}.{key}", origin)
    if are_numbers:
        _check_numbers(cells["label"], f"{field}.label", origin)
    kind = NumberedRows if are_numbers else TextRows
    rows = kind(*(list(map(str, cells.get(key, []))) for key in _COLUMNS))
    if rows.is_empty:
        raise DataError(f"{field}.{split}: {origin} holds no text")
    return rows


def _check_no_gaps(values: list[Any], key: str, field: str, origin: str) -> None:
    for row, value in enumerate(values, start=1):
        if is_missing(value) or (key in ("label", "group") and not str(value).strip()):
            raise DataError(
                f"{field}: row {row:,} of {origin} has none; a labelled row has a text, which may "
                "be empty, and a label and a group, which may not"
            )


def _check_numbers(values: list[Any], field: str, origin: str) -> None:
    for row, value in enumerate(values, start=1):
        if not is_number(value):
            raise DataError(
                f"{field}: row {row:,} of {origin} has {value!r}; allowed is a finite number"
            )


def is_number(cell: Any) -> bool:
    """Whether a cell is a finite number, or the text of one."""
    text = str(cell)
    try:
        # Python reads 1_000 as a number too.
        return "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False
