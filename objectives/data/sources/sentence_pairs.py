"""Pairs of a text to read and a text to write, of aligned files, of tables, or of the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from objectives.data.errors import DataError, Place
from objectives.data.files.encodings import lines_of
from objectives.data.files.notices import Notice, unsaid
from objectives.data.files.stored_texts import StoredTexts
from objectives.data.sources.cells import groups_of, texts_of
from objectives.data.sources.splits import Examples, separate
from objectives.data.sources.tables import read_table
from spaces.file.inputs.tables import SPLITS
from spaces.file.sources import AlignedFiles, PairSource

FIELD = "data.parallel"


@dataclass(frozen=True)
class SentencePairRows(Examples):
    """Pairs of one split: texts to read, such as sentences or documents, and texts to write, such
    as translations or summaries."""

    sources: Sequence[str]
    targets: Sequence[str]
    group_names: list[str] = field(default_factory=list)

    @property
    def groups(self) -> Sequence[str]:
        """The group of each pair."""
        return self.group_names


def read_sentence_pairs(
    source: PairSource, cache: Path, splits: Sequence[str] = SPLITS, *, notice: Notice = unsaid
) -> dict[str, SentencePairRows]:
    """Read splits of a source of pairs, without common texts to read or groups (``separate``).

    Args:
        notice: Called with what is skipped.

    Raises:
        DataError: The data is missing, empty, or its sides do not match.
    """
    named = [split for split in splits if source.inputs(split)]
    return separate(
        {s: _read_split(source, s, cache, notice) for s in named}, splits, FIELD, notice=notice
    )


def _read_split(source: PairSource, split: str, cache: Path, notice: Notice) -> SentencePairRows:
    groups: list[str] = []
    origin, at = getattr(source, split), Place(FIELD, split)
    if isinstance(source, AlignedFiles):
        lines = (lines_of(_file(path, at), source.encoding, at) for path in origin)
        columns = ((line.strip() for line in each) for each in lines)
    else:
        table = read_table(source, split, FIELD, cache, notice)
        named = (("text", source.text), ("target", source.target))
        cells = (texts_of(table, column, f"{FIELD}.{key}") for key, column in named)
        columns = (((cell or "").strip() for cell in each) for each in cells)
        if source.group is not None:
            groups = groups_of(table, source.group, FIELD)
    sources, targets = (StoredTexts.of(each, cache) for each in columns)
    count, most = sorted((len(sources), len(targets)))
    longer = sources if len(sources) > count else targets
    if isinstance(source, AlignedFiles) and not any(longer[count:]):
        # Blank lines at the end of one file.
        most = count
    if count != most:
        raise DataError(
            f"{FIELD}.{split}: {len(sources):,} texts to read and {len(targets):,} to write; "
            "the files must match line by line"
        )
    is_full = (bool(text and target) for text, target in zip(sources, targets, strict=False))
    full = np.flatnonzero(np.fromiter(is_full, dtype=bool))
    pairs = SentencePairRows(sources, targets, groups).select(full)
    if pairs.is_empty:
        raise DataError(f"{FIELD}.{split}: {origin} holds no pairs of texts")
    if missing := count - len(full):
        notice(f"{FIELD}.{split}: {missing:,} pairs without a text on one side are left out")
    return pairs


def _file(given: str, at: Place) -> Path:
    """A file by its name, of which a pattern could match several."""
    if not Path(given).is_file():
        raise at.fault(f"no such file: {given}")
    return Path(given)
