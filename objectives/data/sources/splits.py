"""Splits without common examples: held out of the training split, and without duplicates.

``datasets`` does neither: ``train_test_split`` draws rows by position, so that equal rows, or rows
of one group, can be in both splits, and it has no removal of duplicates.
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
NEARLY = 0.1
"""Fraction of a held-out split that may be lacking."""
LEAST_UNITS = 2
"""Groups, or different examples, of a split: an interval needs two."""


@dataclass(frozen=True)
class Examples:
    """The examples of one split: each field is a column, a list or an array.

    The first column has what a model reads. It decides whether an example is held out.
    """

    @property
    def inputs(self) -> Any:
        """The first column: texts, or pixels ``(images, channels, height, width)``."""
        return getattr(self, fields(self)[0].name)

    @property
    def groups(self) -> Sequence[str]:
        """The group of each example, whose examples depend on each other; empty if unknown."""
        return ()

    @property
    def sizes(self) -> Sequence[int]:
        """What each example counts, where a fraction of them is held out."""
        return [1] * len(self.inputs)

    def keys(self) -> Sequence[Hashable] | None:
        """Keys that duplicates have in common; None where they may be in several splits."""
        return self.digests()

    def digests(self) -> list[bytes]:
        """SHA-256 of the inputs."""
        return [_digest(each) for each in self.inputs]

    def units(self) -> list[bytes]:
        """A digest of each example that is the same for examples of one group, or equal ones."""
        return [_digest(group) for group in self.groups] or self.digests()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to train on, or to score."""
        return len(self.inputs) == 0

    def select(self, rows: Sequence[int]) -> Self:
        """Some of the examples; empty columns stay empty."""
        return type(self)(*(_select(getattr(self, each.name), rows) for each in fields(self)))


def _digest(content: Any) -> bytes:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).digest()


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
        DataError: A split is left without examples, or a group is in several splits.
    """
    _check_groups(given, field)
    found = _hold_out(given, [split for split in splits if split not in given], field)
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
        if split != "train" and keys is not None and len(set(examples.units())) < LEAST_UNITS:
            what = f"group, {examples.groups[0]!r}" if examples.groups else "example"
            raise DataError(
                f"{field}.{split}: there is only one {what}; the interval of a score needs at "
                f"least {LEAST_UNITS}"
            )
        kept[split] = examples
    return {split: kept[split] for split in splits}


def _check_groups(given: Mapping[str, Examples], field: str) -> None:
    first: dict[str, str] = {}
    for split, examples in given.items():
        for group in dict.fromkeys(examples.groups):
            if (other := first.setdefault(group, split)) != split:
                raise DataError(
                    f"{field}.group: {group!r} is in {other} and in {split}; give each split its "
                    f"own groups, or omit {split}, and a tenth of the groups of train is held out"
                )


def _hold_out(given: Mapping[str, E], missing: Sequence[str], field: str) -> dict[str, E]:
    """Move a tenth of the training examples into each missing split.

    Whole groups are moved, or equal examples together. The hash of a group's name, or of the
    content, gives the order in which they are taken, and not their position. A group that is too
    large for what a split still lacks stays in training.
    """
    if not missing:
        return dict(given)
    train = given["train"]
    units, sizes = train.units(), train.sizes
    size_of: dict[bytes, int] = {}
    for unit, size in zip(units, sizes, strict=True):
        size_of[unit] = size_of.get(unit, 0) + size
    if len(size_of) <= LEAST_UNITS * len(missing):
        raise DataError(
            f"{field}: train has {len(size_of)} different "
            f"{'groups' if train.groups else 'examples'}, too few to hold out "
            f"{' and '.join(missing)}; give these splits"
        )
    split_of: dict[bytes, str] = {}
    for split in missing:
        left = sorted(size_of.keys() - split_of.keys())
        for unit in _tenth(left, size_of, HELD_OUT * sum(sizes)):
            split_of[unit] = split
    rows: dict[str, list[int]] = {split: [] for split in ("train", *missing)}
    for row, unit in enumerate(units):
        rows[split_of.get(unit, "train")].append(row)
    return {**given, **{split: train.select(chosen) for split, chosen in rows.items()}}


def _tenth(units: list[bytes], size_of: Mapping[bytes, int], wanted: float) -> list[bytes]:
    """The first units, in their order, that together are at most as large as is wanted, and at
    least two: else the smallest."""
    chosen: list[bytes] = []
    lacking = wanted
    for unit in units:
        # Filled to the last, a split would have the smallest of many units.
        if lacking < NEARLY * wanted:
            break
        if size_of[unit] <= lacking:
            chosen.append(unit)
            lacking -= size_of[unit]
    if len(chosen) < LEAST_UNITS:
        chosen = sorted(units, key=lambda unit: size_of[unit])[:LEAST_UNITS]
    return chosen
