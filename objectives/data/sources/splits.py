"""Splits without common examples: held out of the training split, and without duplicates.

``datasets`` does neither: ``train_test_split`` draws rows by position, so that equal rows can be in
both splits, and it has no removal of duplicates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np

from objectives.data.errors import DataError

HELD_OUT = 0.1
"""Fraction of the training examples that a missing split gets."""


@dataclass(frozen=True)
class Examples:
    """The examples of one split: each field is a column, a list or an array.

    The first column has what a model reads. It decides whether an example is held out.
    """

    @property
    def inputs(self) -> Any:
        """The first column: texts, or pixels ``(images, channels, height, width)``."""
        return getattr(self, fields(self)[0].name)

    def keys(self) -> Sequence[Hashable] | None:
        """Keys that duplicates have in common; None where they may be in several splits."""
        return self.digests()

    def digests(self) -> list[bytes]:
        """SHA-256 of the inputs."""
        contents = (each.encode() if isinstance(each, str) else each for each in self.inputs)
        return [hashlib.sha256(content).digest() for content in contents]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to train on, or to score."""
        return len(self.inputs) == 0

    def select(self, rows: Sequence[int]) -> Self:
        """Some of the examples; empty columns stay empty."""
        return type(self)(*(_select(getattr(self, each.name), rows) for each in fields(self)))


def _select(column: Any, rows: Sequence[int]) -> Any:
    if isinstance(column, np.ndarray):
        return column[rows]
    return [column[row] for row in rows] if column else []


E = TypeVar("E", bound=Examples)


def separate(given: Mapping[str, E], splits: Sequence[str], field: str) -> dict[str, E]:
    """Hold out the splits that are missing, and keep each duplicate in its last split only.

    Args:
        given: The splits that the source names, ``train`` among them.
        splits: Those that are wanted.
        field: Path of the source in the search file, for messages.

    Raises:
        DataError: A split is left without examples.
    """
    found = _hold_out(given, [split for split in splits if split not in given])
    later: set[Hashable] = set()
    kept: dict[str, E] = {}
    for split in reversed(splits):
        examples = found[split]
        keys = examples.keys()
        if keys is not None:
            examples = examples.select([row for row, key in enumerate(keys) if key not in later])
            later.update(keys)
        if examples.is_empty:
            raise DataError(f"{field}: no examples are left for {split}")
        kept[split] = examples
    return {split: kept[split] for split in splits}


def _hold_out(given: Mapping[str, E], missing: Sequence[str]) -> dict[str, E]:
    """Move a tenth of the training examples into each missing split.

    The hash of their content chooses them and not their position: equal examples stay together.
    """
    if not missing:
        return dict(given)
    rows: dict[str, list[int]] = {split: [] for split in ("train", *missing)}
    for row, digest in enumerate(given["train"].digests()):
        slot = int(int.from_bytes(digest[:8]) / 2**64 / HELD_OUT)
        rows[missing[slot] if slot < len(missing) else "train"].append(row)
    return {**given, **{split: given["train"].select(chosen) for split, chosen in rows.items()}}
