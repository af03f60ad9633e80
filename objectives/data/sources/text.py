"""Labelled texts of the standard library, of local files, or of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from objectives.data.errors import DataError
from objectives.data.files.notices import Notice, unsaid
from objectives.data.files.table import Table
from objectives.data.sources import standard_library
from objectives.data.sources.cells import is_blank, names_of, texts_of
from objectives.data.sources.labels import as_number, number_hint, spellings
from objectives.data.sources.splits import Examples, separate
from objectives.data.sources.tables import read_table
from spaces.file.inputs.tables import SPLITS
from spaces.file.sources import Files, HubText, StandardLibrary, TextSource

_COLUMNS = ("text", "label", "text_pair", "group")
_NAMES = ("label", "group")


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
    cells: dict[str, list[str | None]] = {
        key: (names_of if key in _NAMES else texts_of)(table, column, f"{field}.{key}")
        for key, column in columns.items()
    }
    kept = _kept(cells, table, field, split, notice, skip_missing=source.skip_missing)
    found = {key: [values[row] or "" for row in kept] for key, values in cells.items()}
    if are_numbers:
        found["label"] = [
            _number(label, source, f"{field}.label: {table.place(row)}", field)
            for row, label in zip(kept, found["label"], strict=True)
        ]
    kind = NumberedRows if are_numbers else TextRows
    rows = kind(*(found.get(key, []) for key in _COLUMNS))
    if rows.is_empty:
        raise DataError(f"{field}.{split}: {table.origin} holds no text")
    if blank := sum(not text.strip() for text in rows.texts):
        notice(f"{field}.{split}: {blank:,} texts are empty")
    return rows


def _kept(
    cells: Mapping[str, Sequence[str | None]],
    table: Table,
    field: str,
    split: str,
    notice: Notice,
    *,
    skip_missing: bool,
) -> list[int]:
    """The rows that have what they need: all, unless others are left out."""
    missing: set[int] = set()
    for key, values in cells.items():
        for row, value in enumerate(values):
            if value is None or (skip_missing and not value.strip()):
                if not skip_missing or key == "group":
                    raise DataError(
                        f"{field}.{key}: {table.place(row)} has none; a labelled row has a text, "
                        "which may be empty, and a label and a group, which may not"
                        f" ({field}.skip_missing leaves rows out)"
                    )
                missing.add(row)
    if missing:
        notice(f"{field}.{split}: {len(missing):,} rows without a text or a label are left out")
    return [row for row in range(table.rows) if row not in missing]


def _number(label: str, source: Files | HubText, place: str, field: str) -> str:
    number = as_number(label, source.decimal, source.thousands)
    if number is None:
        raise DataError(
            f"{place} has {label!r}; allowed is a finite number{number_hint(label, field)}"
        )
    return number
