"""Which examples are held out: whole groups, with each class as often as among the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEAST_UNITS = 2
"""Groups, or different examples, of a split: an interval needs two."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """Examples that stay together: those of a group, or equal ones.

    Args:
        sizes: What each counts, where a fraction of all examples is held out, ``(units,)``.
        starts: Where the classes of each begin in the next two, and their end, ``(units + 1,)``.
        classes: Numbers of the classes that occur in each.
        counts: How often each of those occurs there.
    """

    sizes: Numbers
    starts: Numbers
    classes: Numbers
    counts: Numbers

    @classmethod
    def of(cls, unit_of: Numbers, sizes: Numbers, class_rows: Numbers, classes: Numbers) -> Units:
        """Of some examples.

        Args:
            unit_of: The unit of each, from 0 on, ``(examples,)``.
            sizes: What each counts, ``(examples,)``.
            class_rows: An example for each class that it has; it has several where its words have
                tags.
            classes: Numbers of these classes, from 0 on.
        """
        count = int(unit_of.max()) + 1
        summed = np.bincount(unit_of, weights=sizes, minlength=count).astype(np.int64)
        most = int(classes.max(initial=0)) + 1
        pairs, counts = np.unique(unit_of[class_rows] * most + classes, return_counts=True)
        starts = np.searchsorted(pairs // most, np.arange(count + 1))
        return cls(summed, starts, pairs % most, counts)

    def of_unit(self, unit: int) -> list[tuple[int, int]]:
        """The classes of a unit, each with how often it occurs."""
        part = slice(self.starts[unit], self.starts[unit + 1])
        return list(zip(self.classes[part].tolist(), self.counts[part].tolist(), strict=True))

    def owners(self, chosen: Numbers) -> Numbers:
        """How many of some units have each class, ``(classes,)``."""
        is_chosen = np.zeros(len(self.sizes), dtype=bool)
        is_chosen[chosen] = True
        classes = self.classes[np.repeat(is_chosen, np.diff(self.starts))]
        return np.bincount(classes, minlength=int(self.classes.max(initial=-1)) + 1)


def drawn(
    units: Units, order: Numbers, *, wanted: float, enough: float, class_counts: Sequence[float]
) -> list[int]:
    """Draw units that are together at most as large as is wanted, with the classes that are wanted.

    Units are taken in their order, first those that no class has too many of, and then whatever
    fits: a class that is rare, or comes in large groups, cannot always be held out in proportion.
    What occurs in a single unit is never drawn, so that a model can learn it. A unit that is too
    large for what is lacking is left.

    ``sklearn.model_selection.StratifiedGroupKFold`` takes 0.3 ms for each group, which is a minute
    for 200,000 different texts.

    Args:
        units: All units.
        order: Those that may be drawn, in the order in which they are taken.
        wanted: Size of all that is drawn, at most.
        enough: What may be lacking of it.
        class_counts: How often each class is wanted; empty without classes.

    Returns:
        Numbers of the units that are drawn, which are fewer than two where no more fit.
    """
    left = units.owners(order).tolist()
    lacking_of = list(class_counts)
    lacking = wanted
    chosen: dict[int, None] = {}
    for is_stratified in (True, False) if class_counts else (False,):
        for unit in map(int, order):
            # Filled to the last, a split would have the smallest of many units.
            if lacking < enough:
                return list(chosen)
            size = int(units.sizes[unit])
            if unit in chosen or size > lacking:
                continue
            classes = units.of_unit(unit)
            if any(left[name] < 2 for name, _ in classes):
                continue
            # Of a class that 4.5 examples are wanted of, 5 are taken.
            if is_stratified and any(count > lacking_of[name] + 0.5 for name, count in classes):
                continue
            chosen[unit] = None
            lacking -= size
            for name, count in classes:
                lacking_of[name] -= count
                left[name] -= 1
    return list(chosen)
