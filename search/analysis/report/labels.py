"""Where labels of a frontier have room: above its line, and beside one another. Pure arithmetic.

Nothing lies above and to the left of a frontier, for that is what it means; only the intervals of
its own points reach into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LETTER = 6.3
"""Width of a letter in pixels, rather too wide."""
GAP, RISE, HIGHEST, LINE, MOST = 9.0, 7.0, 30.0, 17.0, 6
"""Pixels to the left of a point, above it, above it at most, of a line; labels."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the frontier, in pixels from the left and from the top.

    Args:
        x: Across.
        y: Down.
        top: Upper end of its interval.
        text: Its label.
    """

    x: float
    y: float
    top: float
    text: str

    @property
    def right(self) -> float:
        """Where its label ends."""
        return self.x - GAP

    @property
    def left(self) -> float:
        """Where its label begins."""
        return self.right - LETTER * len(self.text)


def placed(points: Sequence[Point]) -> dict[int, float]:
    """Pixels from a point up to the foot of its label, by index, where there is room for one.

    Args:
        points: The frontier, the cheapest first; the dearest have the first choice.
    """
    found: dict[int, float] = {}
    for index in reversed(range(len(points))):
        point = points[index]
        foot = min([point.y - RISE, *(other.top - 4.0 for other in points if _under(point, other))])
        is_free = all(
            abs(points[k].y - rise - foot) > LINE or _apart(point, points[k])
            for k, rise in found.items()
        )
        if point.left > 0.0 and point.y - foot <= HIGHEST and is_free and len(found) < MOST:
            found[index] = point.y - foot
    return found


def _under(point: Point, other: Point) -> bool:
    """Whether the interval of another point would go through a label."""
    return point.left - 3.0 < other.x < point.right + 3.0 and other.top < point.y - RISE + 3.0


def _apart(one: Point, other: Point) -> bool:
    return one.right < other.left - 6.0 or one.left > other.right + 6.0
