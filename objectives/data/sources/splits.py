"""Splits without common examples: held out of the training split, and without duplicates.

``datasets`` does neither: ``train_test_split`` draws rows by position (stratified or not), so that
equal rows, or rows of one group, can be in both splits, and it has no removal of duplicates.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np

from objectives.data.errors import DataError
from objectives.data.files.notices import Notice, unsaid
from objectives.data.files.stored_texts import StoredTexts
from objectives.data.sources.stratification import LEAST_UNITS, Unit, drawn

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
    def sizes(self) -> Sequence[int]:
        """What each example counts, where a fraction of them is held out."""
        return [1] * len(self.inputs)

    @property
    def classes(self) -> Sequence[Sequence[Hashable]]:
        """The classes of each example, which held-out splits have as often; empty without any."""
        return ()

    def keys(self) -> Sequence[Hashable] | None:
        """Keys that duplicates have in common; None where they may be in several splits."""
        return self.digests()

    def digests(self) -> list[bytes]:
        """SHA-256 of the inputs."""
        if isinstance(self.inputs, StoredTexts):
            return list(self.inputs.digests())
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
    if isinstance(column, StoredTexts):
        return column.select(rows)
    return [column[row] for row in rows] if column else []


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
    later: set[Hashable] = set()
    kept: dict[str, E] = {}
    for split in reversed(splits):
        examples = found[split]
        keys = examples.keys()
        if keys is not None:
            examples = examples.select([row for row, key in enumerate(keys) if key not in later])
            if leaks := len(keys) - len(examples.inputs):
                notice(
                    f"{field}.{split}: {leaks:,} examples are in a later split too; left out here"
                )
            if repeats := len(keys) - leaks - len({*keys} - later):
                notice(f"{field}.{split}: {repeats:,} examples repeat another one of the split")
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
    """Move a tenth of the training examples into each missing split, and a tenth of each class.

    Whole groups are moved, or equal examples together. The hash of a group's name, or of the
    content, gives the order in which they are taken, and not their position. A group that is too
    large for what a split still lacks stays in training.
    """
    if not missing:
        return dict(given)
    train = given["train"]
    keys = train.units()
    units: dict[bytes, Unit] = {}
    classes = train.classes or [()] * len(keys)
    for key, size, of_example in zip(keys, train.sizes, classes, strict=True):
        units.setdefault(key, Unit()).add(size, of_example)
    if len(units) <= LEAST_UNITS * len(missing):
        raise DataError(
            f"{field}: train has {len(units)} different "
            f"{'groups' if train.groups else 'examples'}, too few to hold out "
            f"{' and '.join(missing)}; give these splits"
        )
    total = sum(unit.size for unit in units.values())
    wanted = HELD_OUT * total
    enough = min(NEARLY * wanted, total / len(units))
    counts = Counter(name for of_example in classes for name in of_example)
    wanted_of = {name: HELD_OUT * count for name, count in counts.items()}
    split_of: dict[bytes, str] = {}
    for split in missing:
        left = {key: unit for key, unit in units.items() if key not in split_of}
        chosen = drawn(left, sorted(left), wanted=wanted, enough=enough, class_counts=wanted_of)
        if len(chosen) < LEAST_UNITS:
            chosen = _smallest(left)
        split_of |= dict.fromkeys(chosen, split)
    rows: dict[str, list[int]] = {split: [] for split in ("train", *missing)}
    for row, key in enumerate(keys):
        rows[split_of.get(key, "train")].append(row)
    return {**given, **{split: train.select(chosen) for split, chosen in rows.items()}}


def _smallest(units: Mapping[bytes, Unit]) -> list[bytes]:
    """As few units as a split needs: the smallest, whose classes others have too where possible."""
    owners = Counter(name for unit in units.values() for name in unit.classes)
    by_rarity = {
        key: any(owners[name] <= LEAST_UNITS for name in unit.classes)
        for key, unit in units.items()
    }
    return sorted(units, key=lambda key: (by_rarity[key], units[key].size))[:LEAST_UNITS]
