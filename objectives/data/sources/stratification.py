"""Which examples are held out: whole groups, with each class as often as among the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

LEAST_UNITS = 2
"""Groups, or different examples, of a split: an interval needs two."""


K = TypeVar("K", bound=Hashable)


@dataclass
class Unit:
    """Examples that stay together: those of a group, or equal ones.

    Args:
        size: What they count, where a fraction of all examples is held out.
        classes: How often each class occurs among them; empty without classes.
    """

    size: int = 0
    classes: Counter[Hashable] = field(default_factory=Counter)

    def add(self, size: int, classes: Iterable[Hashable]) -> None:
        """Add an example with its classes, of which it has several where its words have tags."""
        self.size += size
        self.classes.update(classes)


def drawn(
    units: Mapping[K, Unit],
    order: Sequence[K],
    *,
    wanted: float,
    enough: float,
    class_counts: Mapping[Hashable, float],
) -> list[K]:
    """Draw units that are together at most as large as is wanted, with the classes that are wanted.

    Units are taken in their order, first those that no class has too many of, and then whatever
    fits: a class that is rare, or comes in large groups, cannot always be held out in proportion.
    What occurs in a single unit is never drawn, so that a model can learn it. A unit that is too
    large for what is lacking is left.

    ``sklearn.model_selection.StratifiedGroupKFold`` takes 0.3 ms for each group, which is a minute
    for 200,000 different texts.

    Args:
        units: Those that may be drawn, by their keys.
        order: Their keys, in the order in which they are taken.
        wanted: Size of all that is drawn, at most.
        enough: What may be lacking of it.
        class_counts: How often each class is wanted.

    Returns:
        Keys of the units that are drawn, which are fewer than two where no more fit.
    """
    left = Counter[Hashable]()
    for each in units.values():
        left.update(each.classes.keys())
    lacking_of = dict(class_counts)
    lacking = wanted
    chosen: list[K] = []
    taken: set[K] = set()
    for is_stratified in (True, False) if class_counts else (False,):
        for key in order:
            # Filled to the last, a split would have the smallest of many units.
            if lacking < enough:
                return chosen
            unit = units[key]
            if key in taken or unit.size > lacking or any(left[c] < 2 for c in unit.classes):
                continue
            # Of a class that 4.5 examples are wanted of, 5 are taken.
            if is_stratified and any(n > lacking_of[c] + 0.5 for c, n in unit.classes.items()):
                continue
            chosen.append(key)
            taken.add(key)
            lacking -= unit.size
            for name, count in unit.classes.items():
                lacking_of[name] -= count
                left[name] -= 1
    return chosen
