"""Points of a grid: one index for each of some ordered dimensions."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd, prod
from typing import Any

Point = tuple[int, ...]
"""One index for each dimension, in their order."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One axis: its name and its ordered values."""

    name: str
    values: tuple[Any, ...]

    @property
    def is_numeric(self) -> bool:
        """Whether its values are numbers, which True and False are not."""
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)


class Grid:
    """The product of some dimensions."""

    def __init__(self, dimensions: tuple[Dimension, ...]) -> None:
        self.dimensions = dimensions

    @property
    def size(self) -> int:
        """Number of points."""
        return prod(len(dimension.values) for dimension in self.dimensions)

    def points(self) -> Iterator[Point]:
        """Every point, the last dimension changing fastest."""
        return itertools.product(*(range(len(d.values)) for d in self.dimensions))

    def random_point(self, rng: random.Random) -> Point:
        """A point drawn uniformly."""
        return tuple(rng.randrange(len(dimension.values)) for dimension in self.dimensions)

    def shuffled(self, rng: random.Random) -> Iterator[Point]:
        """Every point once, in a pseudo-random order that takes no memory."""
        index, stride = rng.randrange(self.size), rng.randrange(self.size)
        # A stride that is coprime to the size visits every index once.
        while gcd(stride, self.size) != 1:
            stride += 1
        for _ in range(self.size):
            index = (index + stride) % self.size
            yield self._point(index)

    def values(self, point: Point) -> dict[str, Any]:
        """The value of each dimension at a point, by its name."""
        return {d.name: d.values[index] for d, index in zip(self.dimensions, point, strict=True)}

    def _point(self, index: int) -> Point:
        point = []
        for dimension in reversed(self.dimensions):
            index, position = divmod(index, len(dimension.values))
            point.append(position)
        return tuple(reversed(point))
