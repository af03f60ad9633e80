"""Texts of the standard library, of local files, or of the Hugging Face Hub."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from objectives.data.errors import DataError
from objectives.data.sources import standard_library
from objectives.data.sources.splits import Examples, separate
from objectives.data.sources.tables import check_table, load_csv, load_hub, load_table
from spaces.file.sources import SPLITS, Files, HubText, StandardLibrary, TextSource

_FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "jsonl", ".txt": "text",
    ".parquet": "parquet",
}  # fmt: skip
_COLUMNS = ("text", "label", "text_pair")


@dataclass(frozen=True)
class TextRows(Examples):
    """Texts of one split, with their labels, and the second texts where rows are pairs."""

    texts: list[str]
    labels: list[str] = field(default_factory=list)
    """Empty for running text."""
    pairs: list[str] = field(default_factory=list)

    def keys(self) -> list[tuple[str, str]] | None:
        """Both texts of labelled rows; None for running text, whose blank lines and headings
        repeat and leak nothing."""
        seconds = self.pairs or [""] * len(self.texts)
        return None if not self.labels else list(zip(self.texts, seconds, strict=True))

    @property
    def is_empty(self) -> bool:
        """Whether every text is blank."""
        return not any(text.strip() for text in self.texts)


def read_text(
    source: TextSource,
    field: str,
    cache: Path,
    *,
    with_labels: bool,
    splits: tuple[str, ...] = SPLITS,
) -> dict[str, TextRows]:
    """Read splits of a source of texts, without common labelled texts (``separate``).

    Args:
        source: Where the rows are.
        field: Its path in the search file, for messages.
        cache: Folder for what ``datasets`` downloads or converts.
        with_labels: Whether rows have labels; else they are running text.

    Raises:
        DataError: The data is missing, empty, or lacks a column.
    """
    if not isinstance(source, StandardLibrary):
        rows = {
            split: _read_split(source, split, field, cache, with_labels=with_labels)
            for split in splits
            if source.inputs(split)
        }
    elif with_labels:
        rows = {split: TextRows(*standard_library.labelled(split)) for split in splits}
    else:
        rows = {split: TextRows(list(standard_library.unlabelled(split))) for split in splits}
    return separate(rows, splits, field)


def _read_split(
    source: Files | HubText, split: str, field: str, cache: Path, *, with_labels: bool
) -> TextRows:
    table = _table(source, split, field, cache)
    origin = str(getattr(source, split))
    wanted = _COLUMNS if with_labels else _COLUMNS[:1]
    columns = {key: getattr(source, key) for key in wanted if getattr(source, key) is not None}
    check_table(table, columns, field, split, origin)
    cells = {key: list(table[column]) for key, column in columns.items()}
    if with_labels:
        for key, values in cells.items():
            _check_no_gaps(values, key, f"{field}.{key}", origin)
    rows = TextRows(*(list(map(_string, cells.get(key, []))) for key in _COLUMNS))
    if rows.is_empty:
        raise DataError(f"{field}.{split}: {origin} holds no text")
    return rows


def _check_no_gaps(values: list[Any], key: str, field: str, origin: str) -> None:
    for row, value in enumerate(values, start=1):
        if _is_missing(value) or (key == "label" and not str(value).strip()):
            raise DataError(
                f"{field}: row {row:,} of {origin} has none; a labelled row has a text, which may "
                "be empty, and a label, which may not"
            )


def _is_missing(cell: Any) -> bool:
    """Whether a cell is null, or NaN, which pandas uses for null."""
    return cell is None or bool(cell != cell)


def _string(cell: Any) -> str:
    """A missing cell of running text is a blank line."""
    return "" if _is_missing(cell) else str(cell)


def _table(source: Files | HubText, split: str, field: str, cache: Path) -> Any:
    if isinstance(source, HubText):
        return load_hub(source, split, field, cache)
    name = _format(source, field)
    file, field = getattr(source, split), f"{field}.{split}"
    if Path(file).stat().st_size == 0:
        raise DataError(f"{field}: {file} holds no rows")
    if name in ("csv", "tsv"):
        # Tab-separated text is written without quoting: a lone " is a character like any other.
        dialect = {"sep": "\t", "quoting": csv.QUOTE_NONE} if name == "tsv" else {}
        return load_csv(file, field, names=source.columns, **dialect)
    builder = {"jsonl": "json"}.get(name, name)
    return load_table(builder, file, field, cache, data_files={"train": file}, split="train")


def _format(source: Files, field: str) -> str:
    if source.format is not None:
        return source.format
    suffixes = [suffix for suffix in Path(source.train).suffixes if suffix != ".gz"]
    if not suffixes or suffixes[-1] not in _FORMATS:
        allowed = ", ".join(sorted(set(_FORMATS.values())))
        raise DataError(
            f"{field}.format: the ending of {source.train} names no known format; "
            f"give one of {allowed}"
        )
    return _FORMATS[suffixes[-1]]
