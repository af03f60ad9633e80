"""Scores of predicted classes, from counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .errors import InputError

Floats = npt.NDArray[np.float64]


def macro_f1(right: Floats, predicted: Floats, wanted: Floats) -> float:
    """Mean of the F1 of the classes that are wanted or predicted, as scikit-learn's ``f1_score``.

    Args:
        right: Examples of each class that are classified correctly, ``(classes,)``.
        predicted: Examples that are classified as each class.
        wanted: Examples of each class.
    """
    both = predicted + wanted
    return float(np.mean(2.0 * right[both > 0] / both[both > 0]))


def balanced_accuracy(right: Floats, predicted: Floats, wanted: Floats) -> float:
    """Mean recall of the classes that are wanted, as scikit-learn's ``balanced_accuracy_score``.
    Arguments as of ``macro_f1``."""
    return float(np.mean(right[wanted > 0] / wanted[wanted > 0]))


def matthews(right: Floats, predicted: Floats, wanted: Floats) -> float:
    """Correlation of predictions and labels of several classes (Gorodkin 2004, Computational
    Biology and Chemistry 28); 0 where all are of one class. Arguments as of ``macro_f1``."""
    total = wanted.sum()
    covariance = right.sum() * total - predicted @ wanted
    squares = (total**2 - predicted @ predicted) * (total**2 - wanted @ wanted)
    return float(covariance / math.sqrt(squares)) if squares > 0 else 0.0


STATISTICS: dict[str, Callable[[Floats, Floats, Floats], float]] = {
    "balanced-accuracy": balanced_accuracy,
    "macro-f1": macro_f1,
    "matthews": matthews,
}
"""By the name of the metric."""


def class_counts(
    predicted: npt.NDArray[np.integer], wanted: npt.NDArray[np.integer], classes: int
) -> tuple[Floats, Floats, Floats]:
    """Examples of each class that are classified correctly, that are classified as it, and that
    are of it, each ``(classes,)``, of the classes of examples ``(examples,)``."""
    right, found, known = (
        np.bincount(numbers, minlength=classes).astype(np.float64)
        for numbers in (predicted[predicted == wanted], predicted, wanted)
    )
    return right, found, known


def class_score(
    predicted: Sequence[str], wanted: Sequence[str], metric: str, names: Sequence[str]
) -> float:
    """The score of the names of classes: ``accuracy``, ``balanced-accuracy``, ``macro-f1`` or
    ``matthews``.

    Args:
        names: Of all classes.

    Raises:
        InputError: A label is none of these.
    """
    number = {name: index for index, name in enumerate(names)}
    if unknown := set(wanted) - number.keys():
        raise InputError(f"label: {min(unknown)!r} is none of the model's: {', '.join(names)}")
    found, known = (np.asarray([number[name] for name in side]) for side in (predicted, wanted))
    if metric == "accuracy":
        return float(np.mean(found == known))
    return STATISTICS[metric](*class_counts(found, known, len(names)))
