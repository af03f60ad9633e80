"""Sentences and their translations from where the search file says."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from objectives.sources import SPLITS, DataError, Rows, hold_out
from spaces.sources import AlignedFiles, ParallelSource

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


def check_pairs(source: ParallelSource) -> None:
    """Refuse local files that do not exist, before anything is loaded.

    Raises:
        DataError: Naming the field and the path.
    """
    for split, paths in _local_files(source).items():
        for path in paths:
            if not Path(path).is_file():
                raise DataError(f"{FIELD}.{split}: no such file: {path}")


def pairs_key(source: ParallelSource) -> str:
    """What determines the pairs of a source: it names the cache of prepared data."""
    digest = hashlib.sha256()
    for paths in _local_files(source).values():
        for path in paths:
            digest.update(Path(path).read_bytes())
    return source.model_dump_json() + digest.hexdigest()


def read_pairs(source: ParallelSource, cache: Path) -> dict[str, Pairs]:
    """Read all splits of a source; those that it does not name are held out of the training pairs.

    A sentence that is to be read in a later split is removed from the earlier ones.

    Args:
        source: Where the pairs are.
        cache: Folder for what ``datasets`` downloads.

    Raises:
        DataError: The data is missing, empty, or its sides do not match.
    """
    rows = {
        split: _read_split(source, split, cache)
        for split in SPLITS
        if getattr(source, split) is not None
    }
    return _disjoint(hold_out(rows, SPLITS))


def _local_files(source: ParallelSource) -> dict[str, list[str]]:
    if not isinstance(source, AlignedFiles):
        return {}
    return {split: getattr(source, split) for split in SPLITS if getattr(source, split) is not None}


def _read_split(source: ParallelSource, split: str, cache: Path) -> Rows:
    if isinstance(source, AlignedFiles):
        sources, targets = (_lines(path, split) for path in getattr(source, split))
    else:
        table = _hub_table(source, split, cache)
        sources, targets = _column(table, source.text), _column(table, source.target)
    if len(sources) != len(targets):
        raise DataError(
            f"{FIELD}.{split}: {len(sources):,} sentences to read and {len(targets):,} to write; "
            "the files must match line by line"
        )
    kept = [i for i, (s, t) in enumerate(zip(sources, targets, strict=True)) if s and t]
    if not kept:
        raise DataError(f"{FIELD}.{split}: {getattr(source, split)} holds no sentences")
    return Rows(sources, [], targets).take(kept)


def _lines(path: str, split: str) -> list[str]:
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as file:
            return [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{FIELD}.{split}: {path} cannot be read: {error}") from error


def _hub_table(source: Any, split: str, cache: Path) -> Any:
    import datasets

    datasets.disable_progress_bars()
    place = getattr(source, split)
    try:
        return datasets.load_dataset(
            source.dataset,
            source.config,
            split=place,
            revision=source.revision,
            cache_dir=str(cache),
        )
    except Exception as error:
        # datasets raises dozens of classes, from the Hub's libraries and its own.
        raise DataError(f"{FIELD}.{split}: {place} cannot be read: {error}") from error


def _column(table: Any, path: str) -> list[str]:
    name, *inner = path.split(".")
    if name not in table.column_names:
        found = ", ".join(table.column_names)
        raise DataError(f"{FIELD}: no column {name!r}; it has: {found}")
    values = table[name]
    for key in inner:
        values = [value[key] for value in values]
    return [str(value).strip() for value in values]


def _disjoint(rows: dict[str, Rows]) -> dict[str, Pairs]:
    later: set[str] = set()
    kept: dict[str, Pairs] = {}
    for split in reversed(SPLITS):
        texts = rows[split].texts
        left = rows[split].take([i for i, text in enumerate(texts) if text not in later])
        later.update(texts)
        if not left.texts:
            raise DataError(f"{FIELD}: no pairs are left for {split}")
        kept[split] = Pairs(left.texts, left.pairs)
    return {split: kept[split] for split in SPLITS}
