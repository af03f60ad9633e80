"""What is measured for a part of a large space, and estimated for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def evenly_spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many of some items, in their order."""
    indices = np.linspace(0, len(items) - 1, min(len(items), most)).astype(int)
    return [items[index] for index in np.unique(indices)]


def log_linear(
    measured: Mapping[T, float], features: Callable[[T], list[float]]
) -> Callable[[T], float]:
    """Estimate a positive quantity: least squares of its logarithm over features."""
    rows = np.array([features(item) for item in measured])
    coefficients, *_ = np.linalg.lstsq(rows, np.log(list(measured.values())), rcond=None)
    weights: list[float] = coefficients.tolist()
    return lambda item: math.exp(sum(k * w for k, w in zip(features(item), weights, strict=True)))
