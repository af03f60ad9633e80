"""Sizes of splits and of classes, and what is said of them before training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

FEW = 50
"""Independent examples of a split below which it is said that scores on them say little."""
MOSTLY = 0.75
"""Fraction of the examples that are of one class from which on it is said."""
NORMAL_QUANTILE = 1.96


def few_examples(counts: Mapping[str, int]) -> list[str]:
    """What to say of splits that are too small to compare models on.

    Args:
        counts: Of prepared data: examples, images, pairs or groups by split.
    """
    said: list[str] = []
    for split in ("validation", "test"):
        # Of examples in groups, groups are the independent ones.
        for what in (f"labelled {split} groups", f"labelled {split} examples", f"{split} groups",
                     f"{split} images", f"{split} pairs"):  # fmt: skip
            count = counts.get(what, FEW)
            if count < FEW:
                # Wilson's interval of one half (Wilson 1927).
                half = NORMAL_QUANTILE / 2.0 / math.sqrt(count + NORMAL_QUANTILE**2)
                said.append(
                    f"{split} has {count} {what.split()[-1]}, on which scores say little: the 95 % "
                    f"interval of a fraction of one half is ± {half:.2f}"
                )
                break
    return said


def imbalance(labels: npt.NDArray[np.integer], names: Sequence[str], field: str) -> str | None:
    """What to say of training labels most of which are of one class.

    Args:
        labels: The class of each example, ``(examples,)``.
        names: Of the classes.
        field: Path of the source in the search file.
    """
    counts = np.bincount(labels, minlength=len(names))
    fraction = float(counts.max() / counts.sum())
    if fraction < MOSTLY:
        return None
    return (
        f"{field}: {fraction:.1%} of the training examples are {names[int(counts.argmax())]!r}, "
        "and so many a model has right that always says so; the metrics balanced-accuracy, "
        "macro-f1 and matthews give each class its weight"
    )
