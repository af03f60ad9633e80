"""Splits without common examples: held out of the training split, and without duplicates.

``datasets`` does neither: ``train_test_split`` draws rows by position (stratified or not), so that
equal rows, or rows of one group, can be in both splits, and it has no removal of duplicates.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any, Self, TypeVar

import numpy as np

from objectives.data.errors import DataError
from objectives.data.files.notices import Notice, unsaid
from objectives.data.files.stored_texts import Digests, Numbers, StoredTexts, digest_array
from objectives.data.sources.stratification import LEAST_UNITS, Units, drawn

HELD_OUT = 0.1
"""Fraction of the training examples that a missing split gets."""
NEARLY = 0.1
"""Fraction of a held-out split that may be lacking, where no average group is smaller."""


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
    def sizes(self) -> Numbers:
        """What each example counts, where a fraction of them is held out."""
        return np.ones(len(self.inputs), dtype=np.int64)

    @property
    def classes(self) -> Iterable[Sequence[Hashable]]:
        """The classes of each example, which held-out splits have as often; empty without any."""
        return ()

    def keys(self) -> Digests | None:
        """What duplicates have in common, of each example; None where they may be in several
        splits."""
        return self.digests()

    def digests(self) -> Digests:
        """SHA-256 of the inputs."""
        return digests_of(self.inputs)

    def units(self) -> Digests:
        """A digest of each example that is the same for examples of one group, or equal ones."""
        return digests_of(self.groups) if self.groups else self.digests()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to train on, or to score."""
        return len(self.inputs) == 0

    def select(self, rows: Numbers) -> Self:
        """Some of the examples; empty columns stay empty."""
        return type(self)(*(_select(getattr(self, each.name), rows) for each in fields(self)))


def digests_of(column: Any) -> Digests:
    """SHA-256 of each text or array of a column."""
    if isinstance(column, StoredTexts):
        return column.digests()
    contents = (each.encode() if isinstance(each, str) else each for each in column)
    return digest_array(hashlib.sha256(content).digest() for content in contents)


def _select(column: Any, rows: Numbers) -> Any:
    if isinstance(column, np.ndarray):
        return column[rows]
    if isinstance(column, StoredTexts):
        return column.select(rows)
    return [column[row] for row in rows.tolist()] if column else []


E = TypeVar("E", bound=Examples)


def separate(
    given: Mapping[str, E], splits: Sequence[str], field: str, *, notice: Notice = unsaid
) -> dict[str, E]:
    """Hold out the splits that are missing, and keep each duplicate in its last split only.

    Args:
        given: The splits that the source names, ``train`` among them.
        splits: Those that are wanted.
        field: Path of the source in the search file, for messages.
        notice: Called with what is held out, what is left out of a split, and what repeats.

    Raises:
        DataError: A split is left without examples, or a group is in several splits.
    """
    _check_groups(given, field)
    missing = [split for split in splits if split not in given]
    found = _hold_out(given, missing, field)
    if missing:
        what = "groups" if found["train"].groups else "examples"
        notice(f"{field}: a tenth of the {what} of train is held out as {' and as '.join(missing)}")
    later: Digests = np.empty(0, dtype="S32")
    kept: dict[str, E] = {}
    for split in reversed(splits):
        examples = found[split]
        keys = examples.keys()
        if keys is not None:
            is_new = ~np.isin(keys, later)
            examples = examples.select(np.flatnonzero(is_new))
            if leaks := np.count_nonzero(~is_new):
                notice(
                    f"{field}.{split}: {leaks:,} examples are in a later split too; left out here"
                )
            if repeats := np.count_nonzero(is_new) - len(np.unique(keys[is_new])):
                notice(f"{field}.{split}: {repeats:,} examples repeat another one of the split")
            later = np.concatenate((later, keys[is_new]))
        if examples.is_empty:
            raise DataError(f"{field}: no examples are left for {split}")
        if split != "train" and keys is not None and len(np.unique(examples.units())) < LEAST_UNITS:
            what = f"group, {examples.groups[0]!r}" if examples.groups else "example"
            raise DataError(
                f"{field}.{split}: there is only one {what}; the interval of a score needs at "
                f"least {LEAST_UNITS}"
            )
        kept[split] = examples
    return {split: kept[split] for split in splits}


def _check_groups(given: Mapping[str, Examples], field: str) -> None:
    groups = {split: digests_of(each.groups) for split, each in given.items()}
    for (other, before), (split, after) in combinations(groups.items(), 2):
        if len(rows := np.flatnonzero(np.isin(after, before))):
            raise DataError(
                f"{field}.group: {given[split].groups[rows[0]]!r} is in {other} and in {split}; "
                f"give each split its own groups, or omit {split}, and a tenth of the groups of "
                "train is held out"
            )


def _hold_out(given: Mapping[str, E], missing: Sequence[str], field: str) -> dict[str, E]:
    """Move a tenth of the training examples into each missing split, and a tenth of each class.

    Whole groups are moved, or equal examples together. The hash of a group's name, or of the
    content, gives the order in which they are taken, and not their position. A group that is too
    large for what a split still lacks stays in training.
    """
    if not missing:
        return dict(given)
    train = given["train"]
    # Units are numbered in the order of their digests.
    _, first, unit_of = np.unique(train.units(), return_index=True, return_inverse=True)
    if len(first) <= LEAST_UNITS * len(missing):
        raise DataError(
            f"{field}: train has {len(first)} different "
            f"{'groups' if train.groups else 'examples'}, too few to hold out "
            f"{' and '.join(missing)}; give these splits"
        )
    class_rows, classes = _numbered_classes(train.classes)
    units = Units.of(unit_of, train.sizes, class_rows, classes)
    total = int(units.sizes.sum())
    wanted = HELD_OUT * total
    split_of = np.zeros(len(first), dtype=np.int8)
    for number in range(1, len(missing) + 1):
        left = np.flatnonzero(split_of == 0)
        chosen = drawn(
            units,
            left,
            wanted=wanted,
            enough=min(NEARLY * wanted, total / len(first)),
            class_counts=(HELD_OUT * np.bincount(classes)).tolist(),
        )
        split_of[chosen if len(chosen) >= LEAST_UNITS else _smallest(units, left, first)] = number
    return {**given} | {
        split: train.select(np.flatnonzero(split_of[unit_of] == number))
        for number, split in enumerate(("train", *missing))
    }


def _numbered_classes(classes: Iterable[Sequence[Hashable]]) -> tuple[Numbers, Numbers]:
    """An example for each class that it has, and the number of this class."""
    number: dict[Hashable, int] = {}
    rows, numbers = array("q"), array("q")
    for row, of_example in enumerate(classes):
        for name in of_example:
            rows.append(row)
            numbers.append(number.setdefault(name, len(number)))
    return np.array(rows, dtype=np.int64), np.array(numbers, dtype=np.int64)


def _smallest(units: Units, left: Numbers, first: Numbers) -> Numbers:
    """As few units as a split needs: the smallest, whose classes others have too where possible.

    Args:
        left: Those that may be taken.
        first: The first example of each unit.
    """
    is_rare = units.owners(left) <= LEAST_UNITS
    unit_of_class = np.repeat(np.arange(len(first)), np.diff(units.starts))
    rare = np.bincount(unit_of_class[is_rare[units.classes]], minlength=len(first)) > 0
    order = np.lexsort((first[left], units.sizes[left], rare[left]))
    return left[order[:LEAST_UNITS]]
