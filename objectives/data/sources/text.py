"""Rows of text from where the search file says: the standard library, local files, or the Hub."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from objectives.data.sources import standard_library
from objectives.data.sources.splits import disjoint, held_out
from objectives.data.sources.tables import (
    DataError,
    check_file,
    digest_of,
    load_csv,
    load_hub,
    load_table,
)
from spaces.file.sources import SPLITS, Files, HubText, StandardLibrary, TextSource

_FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "jsonl", ".txt": "text",
    ".parquet": "parquet",
}  # fmt: skip


@dataclass(frozen=True)
class TextRows:
    """Texts of one split, and their labels where the source has any.

    Args:
        texts: One string a row.
        labels: One label a row, as text; empty for unlabelled data.
        pairs: The second text of each row, where rows are pairs; else empty.
    """

    texts: list[str]
    labels: list[str]
    pairs: list[str] = field(default_factory=list)

    def take(self, indices: list[int]) -> TextRows:
        """Some of the rows."""
        return TextRows(
            *(_take(column, indices) for column in (self.texts, self.labels, self.pairs))
        )


def _take(column: list[str], indices: list[int]) -> list[str]:
    return [column[i] for i in indices] if column else []


def check_text_source(source: TextSource, field: str) -> None:
    """Refuse local files that do not exist, before anything is loaded.

    Raises:
        DataError: Naming the field and the path.
    """
    if not isinstance(source, Files):
        return
    for split, path in named_splits(source).items():
        check_file(path, f"{field}.{split}")
    _format(source, field)


def named_splits(source: Any) -> dict[str, Any]:
    """What a source says of each split that it names."""
    named = {split: getattr(source, split) for split in SPLITS}
    return {split: place for split, place in named.items() if place is not None}


def text_source_key(source: TextSource) -> str:
    """What determines the rows of a source, cheap to get: it names the cache of prepared data."""
    if isinstance(source, StandardLibrary):
        return standard_library.identity()
    key = source.model_dump_json()
    if isinstance(source, Files):
        key += digest_of(named_splits(source).values())
    return key


def read_text(
    source: TextSource,
    field: str,
    cache: Path,
    *,
    with_labels: bool,
    splits: tuple[str, ...] = SPLITS,
) -> dict[str, TextRows]:
    """Read splits of a source.

    Splits that the source does not name are held out from its training rows. A labelled text that
    is in a later split (validation, test) is removed from the earlier ones. Running text is not
    made disjoint row by row: blank lines and headings repeat in it and leak nothing.

    Args:
        source: Where the rows are.
        field: Path of the source in the search file, for messages.
        cache: Folder for what ``datasets`` downloads or converts.
        with_labels: Whether rows have labels.
        splits: The splits that are wanted.

    Raises:
        DataError: The data is missing, empty, or lacks a column.
    """
    if isinstance(source, StandardLibrary):
        return _disjoint(_standard_library(splits, with_labels=with_labels), field)
    rows = {
        split: _read_split(source, split, field, cache, with_labels=with_labels)
        for split in named_splits(source)
        if split in splits
    }
    return _disjoint(hold_out(rows, splits), field)


def _standard_library(splits: tuple[str, ...], *, with_labels: bool) -> dict[str, TextRows]:
    if with_labels:
        return {split: TextRows(*standard_library.labelled(split)) for split in splits}
    return {split: TextRows(list(standard_library.unlabelled(split)), []) for split in splits}


def _read_split(
    source: Files | HubText, split: str, field: str, cache: Path, *, with_labels: bool
) -> TextRows:
    table = _table(source, split, field, cache)
    place = f"{getattr(source, split)}"
    columns = {"text": source.text}
    if with_labels:
        columns["label"] = source.label
        if source.text_pair is not None:
            columns["text_pair"] = source.text_pair
    for key, column in columns.items():
        if column not in table.column_names:
            found = ", ".join(table.column_names)
            raise DataError(f"{field}.{key}: no column {column!r} in {place}; it has: {found}")
    if len(table) == 0:
        raise DataError(f"{field}.{split}: {place} holds no rows")
    values = {key: list(table[column]) for key, column in columns.items()}
    if with_labels:
        for key, cells in values.items():
            _check_no_gaps(cells, key, f"{field}.{key}", place)
    # What is missing of running text is a blank line.
    texts = ["" if _is_missing(text) else str(text) for text in values["text"]]
    if not any(text.strip() for text in texts):
        raise DataError(f"{field}.{split}: {place} holds no text")
    return TextRows(
        texts, *([str(v) for v in values.get(key, [])] for key in ("label", "text_pair"))
    )


def _check_no_gaps(values: list[Any], key: str, field: str, place: str) -> None:
    for row, value in enumerate(values, start=1):
        # An empty text is one too; an empty label is one that somebody forgot.
        if _is_missing(value) or (key == "label" and not str(value).strip()):
            raise DataError(
                f"{field}: row {row:,} of {place} has none; a labelled row has a text, which may "
                "be empty, and a label, which may not"
            )


def _is_missing(value: Any) -> bool:
    """Whether it is null, or pandas' word for it: the number that equals nothing."""
    return value is None or bool(value != value)


def _table(source: Files | HubText, split: str, field: str, cache: Path) -> Any:
    if isinstance(source, HubText):
        return load_hub(source, split, field, cache)
    name = _format(source, field)
    place, field = getattr(source, split), f"{field}.{split}"
    if Path(place).stat().st_size == 0:
        raise DataError(f"{field}: {place} holds no rows")
    if name in ("csv", "tsv"):
        # Tab-separated text is written without quoting: a lone " is a character like any other.
        dialect = {"sep": "\t", "quoting": csv.QUOTE_NONE} if name == "tsv" else {}
        return load_csv(place, field, names=source.columns, **dialect)
    builder = {"jsonl": "json"}.get(name, name)
    return load_table(builder, place, field, cache, data_files={"train": place}, split="train")


def _format(source: Files, field: str) -> str:
    if source.format is not None:
        return source.format
    suffixes = [suffix for suffix in Path(source.train).suffixes if suffix != ".gz"]
    if not suffixes or suffixes[-1] not in _FORMATS:
        allowed = ", ".join(sorted(set(_FORMATS.values())))
        raise DataError(
            f"{field}.format: the ending of {source.train} says nothing; give one of {allowed}"
        )
    return _FORMATS[suffixes[-1]]


def hold_out(rows: dict[str, TextRows], splits: tuple[str, ...]) -> dict[str, TextRows]:
    """Add the wanted splits that are missing, each a tenth of the training rows."""
    places = held_out(
        (text.encode() for text in rows["train"].texts), [s for s in splits if s not in rows]
    )
    cut = {split: rows["train"].take(indices) for split, indices in places.items()}
    return {split: cut[split] if split in cut else rows[split] for split in splits}


def _disjoint(rows: dict[str, TextRows], field: str) -> dict[str, TextRows]:
    kept = rows
    # Blank lines and headings repeat in running text and leak nothing.
    if rows["train"].labels:
        keys = {
            split: list(zip_longest(each.texts, each.pairs, fillvalue=""))
            for split, each in rows.items()
        }
        kept = {split: rows[split].take(indices) for split, indices in disjoint(keys).items()}
    for split, each in kept.items():
        if not any(text.strip() for text in each.texts):
            raise DataError(f"{field}: no rows are left for {split}")
    return kept
