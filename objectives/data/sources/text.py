"""Labelled texts of the standard library, of local files, or of the Hugging Face Hub."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from objectives.data.errors import DataError
from objectives.data.files.notices import Notice, unsaid
from objectives.data.files.stored_texts import Digests, StoredTexts
from objectives.data.files.table import Table
from objectives.data.sources import standard_library
from objectives.data.sources.cells import is_blank, names_of, texts_of
from objectives.data.sources.labels import as_number, number_hint, spellings
from objectives.data.sources.splits import Examples, digests_of, separate
from objectives.data.sources.tables import read_table
from spaces.file.inputs.tables import SPLITS
from spaces.file.sources import Files, HubText, StandardLibrary, TextSource

_COLUMNS = ("text", "label", "text_pair", "group")
_NAMES = ("label", "group")


@dataclass(frozen=True)
class TextRows(Examples):
    """Labelled texts of one split, with the second texts where rows are pairs, and the groups of
    the rows where they are known."""

    texts: Sequence[str]
    labels: list[str]
    pairs: Sequence[str] = ()
    group_names: list[str] = field(default_factory=list)

    @property
    def groups(self) -> Sequence[str]:
        """The group of each row."""
        return self.group_names

    @property
    def classes(self) -> Iterable[Sequence[str]]:
        """The label of each row."""
        return zip(self.labels)

    def keys(self) -> Digests:
        """Of both texts of each row."""
        firsts, seconds = self.digests(), digests_of(self.pairs)
        if not len(seconds):
            return firsts
        both = [each.view(np.uint8).reshape(len(each), -1) for each in (firsts, seconds)]
        return np.hstack(both).view("S64").ravel()

    @property
    def is_empty(self) -> bool:
        """Whether every text is blank."""
        return is_blank(self.texts)


@dataclass(frozen=True)
class NumberedRows(TextRows):
    """Texts with numbers to predict in place of labels."""

    @property
    def classes(self) -> Iterable[Sequence[str]]:
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
            split: TextRows(
                StoredTexts.of(each.texts, cache), each.packages, group_names=each.files
            )
            for split, each in snippets.items()
        }
    else:
        named = [split for split in splits if source.inputs(split)]
        rows = {
            split: _read_split(source, split, field, cache, are_numbers=are_numbers, notice=notice)
            for split in named
        }
        if not are_numbers:
            labels = {split: each.labels for split, each in rows.items()}
            class_of = spellings(labels, f"{field}.label", notice)
            rows = {
                split: replace(each, labels=[class_of[label] for label in each.labels])
                for split, each in rows.items()
            }
    return separate(rows, splits, field, notice=notice)


def _read_split(
    source: Files | HubText,
    split: str,
    field: str,
    cache: Path,
    *,
    are_numbers: bool,
    notice: Notice,
) -> TextRows:
    table = read_table(source, split, field, cache, notice)
    columns = {key: name for key in _COLUMNS if (name := getattr(source, key)) is not None}
    missing: set[int] = set()
    found: dict[str, Any] = {}
    for key, column in columns.items():
        cells = (names_of if key in _NAMES else texts_of)(table, column, f"{field}.{key}")
        present = _noting_missing(cells, missing, key, source, table, field)
        # Equal names are one object.
        found[key] = (
            list(map(sys.intern, present)) if key in _NAMES else StoredTexts.of(present, cache)
        )
    if missing:
        notice(f"{field}.{split}: {len(missing):,} rows without a text or a label are left out")
    rows = (NumberedRows if are_numbers else TextRows)(*(found.get(key, []) for key in _COLUMNS))
    kept = np.setdiff1d(np.arange(table.rows), list(missing)).astype(np.int64)
    rows = rows.select(kept)
    if are_numbers:
        numbers = [
            _number(label, source, f"{field}.label: {table.place(row)}", field)
            for row, label in zip(kept.tolist(), rows.labels, strict=True)
        ]
        rows = replace(rows, labels=numbers)
    if rows.is_empty:
        raise DataError(f"{field}.{split}: {table.origin} holds no text")
    if blank := sum(not text.strip() for text in rows.texts):
        notice(f"{field}.{split}: {blank:,} texts are empty")
    return rows


def _noting_missing(
    cells: Iterable[str | None],
    missing: set[int],
    key: str,
    source: Files | HubText,
    table: Table,
    field: str,
) -> Iterator[str]:
    """The cells of a column; rows that lack one are added to a set, or refused unless they may be
    left out."""
    for row, value in enumerate(cells):
        if value is None or (source.skip_missing and not value.strip()):
            if not source.skip_missing or key == "group":
                raise DataError(
                    f"{field}.{key}: {table.place(row)} has none; a labelled row has a text, "
                    "which may be empty, and a label and a group, which may not"
                    f" ({field}.skip_missing leaves rows out)"
                )
            missing.add(row)
        yield value or ""


def _number(label: str, source: Files | HubText, place: str, field: str) -> str:
    number = as_number(label, source.decimal, source.thousands)
    if number is None:
        raise DataError(
            f"{place} has {label!r}; allowed is a finite number{number_hint(label, field)}"
        )
    return number
