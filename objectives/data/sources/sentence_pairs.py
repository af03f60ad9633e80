"""Pairs of a text to read and a text to write, of aligned files, of tables, or of the Hub."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from objectives.data.errors import DataError
from objectives.data.files.notices import Notice, unsaid
from objectives.data.sources.splits import Examples, separate
from objectives.data.sources.tables import check_table, load_split
from spaces.file.inputs.tables import SPLITS
from spaces.file.sources import AlignedFiles, PairSource

FIELD = "data.parallel"


@dataclass(frozen=True)
class SentencePairRows(Examples):
    """Pairs of one split: texts to read, such as sentences or documents, and texts to write, such
    as translations or summaries."""

    sources: list[str]
    targets: list[str]


def read_sentence_pairs(
    source: PairSource, cache: Path, splits: Sequence[str] = SPLITS, *, notice: Notice = unsaid
) -> dict[str, SentencePairRows]:
    """Read splits of a source of pairs, without common texts to read (``separate``).

    Args:
        notice: Called with what is skipped.

    Raises:
        DataError: The data is missing, empty, or its sides do not match.
    """
    named = [split for split in splits if source.inputs(split)]
    return separate({s: _read_split(source, s, cache, notice) for s in named}, splits, FIELD)


def _read_split(source: PairSource, split: str, cache: Path, notice: Notice) -> SentencePairRows:
    origin = getattr(source, split)
    if isinstance(source, AlignedFiles):
        sources, targets = (_lines(path, split) for path in origin)
    else:
        table = load_split(source, split, FIELD, cache)
        columns = {"text": source.text, "target": source.target}
        names = {key: column.partition(".")[0] for key, column in columns.items()}
        check_table(table, names, FIELD, split, origin)
        sources, targets = (
            _cells(table, column, f"{FIELD}.{key}", origin) for key, column in columns.items()
        )
    if len(sources) != len(targets):
        raise DataError(
            f"{FIELD}.{split}: {len(sources):,} texts to read and {len(targets):,} to write; "
            "the files must match line by line"
        )
    full = [row for row, sides in enumerate(zip(sources, targets, strict=True)) if all(sides)]
    pairs = SentencePairRows(sources, targets).select(full)
    if pairs.is_empty:
        raise DataError(f"{FIELD}.{split}: {origin} holds no pairs of texts")
    if missing := len(sources) - len(full):
        notice(f"{FIELD}.{split}: {missing:,} pairs without a text on one side are left out")
    return pairs


def _lines(path: str, split: str) -> list[str]:
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as file:
            return [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{FIELD}.{split}: {path} cannot be read: {error}") from error


def _cells(table: Any, column: str, field: str, origin: str) -> list[str]:
    """Cells of a column such as ``translation.en``, a field of the records in ``translation``."""
    name, *inner = column.split(".")
    values = list(table[name])
    for key in inner:
        for row, value in enumerate(values, start=1):
            if value is not None and (not isinstance(value, dict) or key not in value):
                has = ", ".join(value) if isinstance(value, dict) else f"{value!r:.100}"
                raise DataError(f"{field}: no {column!r} in row {row:,} of {origin}; it has: {has}")
        values = [None if value is None else value[key] for value in values]
    for row, value in enumerate(values, start=1):
        if isinstance(value, dict | list):
            raise DataError(
                f"{field}: row {row:,} of {origin} has {value!r:.100}; allowed is a text, or with "
                "a dot that of a record, such as translation.en"
            )
    return ["" if value is None else str(value).strip() for value in values]
