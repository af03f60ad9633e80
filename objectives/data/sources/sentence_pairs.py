"""Sentences and their translations from where the search file says."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from objectives.data.sources.splits import disjoint
from objectives.data.sources.tables import DataError, check_file, digest_of, load_hub
from objectives.data.sources.text import TextRows, hold_out, named_splits
from spaces.file.sources import SPLITS, AlignedFiles, TranslationSource

FIELD = "data.parallel"


@dataclass(frozen=True)
class Pairs:
    """Sentence pairs of one split.

    Args:
        sources: Sentences to read.
        targets: Their translations.
    """

    sources: list[str]
    targets: list[str]


def check_sentence_pairs(source: TranslationSource) -> None:
    """Refuse local files that do not exist, before anything is loaded.

    Raises:
        DataError: Naming the field and the path.
    """
    for split, paths in _local_files(source).items():
        for path in paths:
            check_file(path, f"{FIELD}.{split}")


def sentence_pairs_key(source: TranslationSource) -> str:
    """What determines the pairs of a source: it names the cache of prepared data."""
    paths = chain.from_iterable(_local_files(source).values())
    return source.model_dump_json() + digest_of(paths)


def read_sentence_pairs(source: TranslationSource, cache: Path) -> dict[str, Pairs]:
    """Read all splits of a source; those that it does not name are held out of the training pairs.

    A sentence that is to be read in a later split is removed from the earlier ones.

    Args:
        source: Where the pairs are.
        cache: Folder for what ``datasets`` downloads.

    Raises:
        DataError: The data is missing, empty, or its sides do not match.
    """
    rows = {split: _read_split(source, split, cache) for split in named_splits(source)}
    return _disjoint(hold_out(rows, SPLITS))


def _local_files(source: TranslationSource) -> dict[str, list[str]]:
    return named_splits(source) if isinstance(source, AlignedFiles) else {}


def _read_split(source: TranslationSource, split: str, cache: Path) -> TextRows:
    if isinstance(source, AlignedFiles):
        sources, targets = (_lines(path, split) for path in getattr(source, split))
    else:
        table = load_hub(source, split, FIELD, cache)
        sources, targets = _column(table, source.text), _column(table, source.target)
    if len(sources) != len(targets):
        raise DataError(
            f"{FIELD}.{split}: {len(sources):,} sentences to read and {len(targets):,} to write; "
            "the files must match line by line"
        )
    kept = [i for i, (s, t) in enumerate(zip(sources, targets, strict=True)) if s and t]
    if not kept:
        raise DataError(f"{FIELD}.{split}: {getattr(source, split)} holds no sentences")
    return TextRows(sources, [], targets).take(kept)


def _lines(path: str, split: str) -> list[str]:
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as file:
            return [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{FIELD}.{split}: {path} cannot be read: {error}") from error


def _column(table: Any, path: str) -> list[str]:
    name, *inner = path.split(".")
    if name not in table.column_names:
        found = ", ".join(table.column_names)
        raise DataError(f"{FIELD}: no column {name!r}; it has: {found}")
    values = list(table[name])
    for key in inner:
        values = [None if value is None else value[key] for value in values]
    return ["" if value is None else str(value).strip() for value in values]


def _disjoint(rows: dict[str, TextRows]) -> dict[str, Pairs]:
    kept: dict[str, Pairs] = {}
    for split, indices in disjoint({split: each.texts for split, each in rows.items()}).items():
        if not indices:
            raise DataError(f"{FIELD}: no pairs are left for {split}")
        left = rows[split].take(indices)
        kept[split] = Pairs(left.texts, left.pairs)
    return kept
